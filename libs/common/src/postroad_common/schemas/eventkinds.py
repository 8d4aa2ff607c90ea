"""The kinds of events: a discriminated union, told apart by the name of the event.

What each tells is in `eventdata`; `events` makes them, and is where others import all of it from.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from postroad_common.schemas.eventdata import (
    AcceptedData,
    AttemptData,
    AttemptStarted,
    CancelledData,
    EventData,
    NotifiedData,
    ReturnData,
    ScheduleData,
    SuppressedData,
    TransformedData,
    VisitData,
    WithheldData,
)
from postroad_common.schemas.model import Schema


class EventName(StrEnum):
    """What can happen to a message."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    TRANSFORMED = "transformed"
    ATTEMPT = "attempt"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    FAILED = "failed"
    BOUNCED = "bounced"
    RESPONSE = "response"
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    SUPPRESSED = "suppressed"
    UNSUBSCRIBED = "unsubscribed"
    CANCELLED = "cancelled"
    TESTED = "tested"
    NOTIFIED = "notified"


TIMELINE_ONLY = frozenset({EventName.SCHEDULED, EventName.TRANSFORMED, EventName.NOTIFIED})
OWN_MAIL = ("dsn", "forward")
"""The kinds (`OutboundMessage.kind`) of mail that Postroad writes itself."""


class Event(Schema):
    """One fact. `time` is Unix seconds; each kind of event is a child with its own `data`.

    `account` is empty where the writer does not know it (the tracker): feedback fills it in.
    """

    id: str
    event: EventName
    message: str
    account: str = ""
    time: float
    data: EventData = EventData()
    name: ClassVar[EventName]
    tells: ClassVar[type[EventData]] = EventData

    @property
    def facts(self) -> dict[str, Any]:
        """What `data` tells: JSON values by their names on the wire, for store and pages."""
        return self.data.facts

    def wire(self) -> bytes:
        """Return the JSON of the event as it travels."""
        return to_json(_values(self))

    @classmethod
    def trusted(
        cls, event_id: str, message: str, *, account: str, time: float, data: EventData
    ) -> Self:
        """Return the event that has these values, unchecked: what is built here is right."""
        event = cls.__new__(cls)
        values = {
            "id": event_id,
            "event": cls.name,
            "message": message,
            "account": account,
            "time": time,
            "data": data,
        }
        fill = object.__setattr__
        fill(event, "__dict__", values)
        fill(event, "__pydantic_fields_set__", set(values))
        fill(event, "__pydantic_extra__", None)
        fill(event, "__pydantic_private__", None)
        return event


class Accepted(Event):
    """The message is on a durable queue."""

    event: Literal[EventName.ACCEPTED]
    data: AcceptedData = AcceptedData()
    name = EventName.ACCEPTED
    tells = AcceptedData


class Scheduled(Event):
    """The message waits for its time, and got another one."""

    event: Literal[EventName.SCHEDULED]
    data: ScheduleData = ScheduleData()
    name = EventName.SCHEDULED
    tells = ScheduleData


class Transformed(Event):
    """The message is ready for delivery."""

    event: Literal[EventName.TRANSFORMED]
    data: TransformedData = TransformedData()
    name = EventName.TRANSFORMED
    tells = TransformedData


class AttemptBegun(Event):
    """An attempt has begun."""

    event: Literal[EventName.ATTEMPT]
    data: AttemptStarted = AttemptStarted()
    name = EventName.ATTEMPT
    tells = AttemptStarted


class Deferred(Event):
    """An attempt failed for now, or none is made for the time being."""

    event: Literal[EventName.DEFERRED]
    data: AttemptData = AttemptData()
    name = EventName.DEFERRED
    tells = AttemptData


class Delivered(Event):
    """A server has taken the message."""

    event: Literal[EventName.DELIVERED]
    data: AttemptData = AttemptData()
    name = EventName.DELIVERED
    tells = AttemptData


class Failed(Event):
    """The message is given up."""

    event: Literal[EventName.FAILED]
    data: AttemptData = AttemptData()
    name = EventName.FAILED
    tells = AttemptData


class Bounced(Event):
    """A report says that the message was not delivered."""

    event: Literal[EventName.BOUNCED]
    data: ReturnData = ReturnData()
    name = EventName.BOUNCED
    tells = ReturnData


class Responded(Event):
    """An answer came back, of a machine most often."""

    event: Literal[EventName.RESPONSE]
    data: ReturnData = ReturnData()
    name = EventName.RESPONSE
    tells = ReturnData


class Opened(Event):
    """The message was looked at."""

    event: Literal[EventName.OPENED]
    data: VisitData = VisitData()
    name = EventName.OPENED
    tells = VisitData


class Clicked(Event):
    """A link in the message was followed."""

    event: Literal[EventName.CLICKED]
    data: VisitData = VisitData()
    name = EventName.CLICKED
    tells = VisitData


class Complained(Event):
    """The recipient calls the message unwanted."""

    event: Literal[EventName.COMPLAINED]
    data: ReturnData = ReturnData()
    name = EventName.COMPLAINED
    tells = ReturnData


class Suppressed(Event):
    """The recipient is on the account's suppression list: not sent."""

    event: Literal[EventName.SUPPRESSED]
    data: SuppressedData = SuppressedData()
    name = EventName.SUPPRESSED
    tells = SuppressedData


class Unsubscribed(Event):
    """The recipient unsubscribed with one click."""

    event: Literal[EventName.UNSUBSCRIBED]
    data: VisitData = VisitData()
    name = EventName.UNSUBSCRIBED
    tells = VisitData


class Cancelled(Event):
    """The message was taken back before it was delivered: not sent."""

    event: Literal[EventName.CANCELLED]
    data: CancelledData = CancelledData()
    name = EventName.CANCELLED
    tells = CancelledData


class Tested(Event):
    """The message is a test, and ready: not sent."""

    event: Literal[EventName.TESTED]
    data: WithheldData = WithheldData()
    name = EventName.TESTED
    tells = WithheldData


class Notified(Event):
    """The envelope sender was told how it went."""

    event: Literal[EventName.NOTIFIED]
    data: NotifiedData = NotifiedData()
    name = EventName.NOTIFIED
    tells = NotifiedData


AnyEvent = Annotated[
    Accepted
    | Scheduled
    | Transformed
    | AttemptBegun
    | Deferred
    | Delivered
    | Failed
    | Bounced
    | Responded
    | Opened
    | Clicked
    | Complained
    | Suppressed
    | Unsubscribed
    | Cancelled
    | Tested
    | Notified,
    Field(discriminator="event"),
]
KINDS: Mapping[EventName, type[Event]] = {
    EventName.ACCEPTED: Accepted,
    EventName.SCHEDULED: Scheduled,
    EventName.TRANSFORMED: Transformed,
    EventName.ATTEMPT: AttemptBegun,
    EventName.DEFERRED: Deferred,
    EventName.DELIVERED: Delivered,
    EventName.FAILED: Failed,
    EventName.BOUNCED: Bounced,
    EventName.RESPONSE: Responded,
    EventName.OPENED: Opened,
    EventName.CLICKED: Clicked,
    EventName.COMPLAINED: Complained,
    EventName.SUPPRESSED: Suppressed,
    EventName.UNSUBSCRIBED: Unsubscribed,
    EventName.CANCELLED: Cancelled,
    EventName.TESTED: Tested,
    EventName.NOTIFIED: Notified,
}
_ANY: TypeAdapter[Event] = TypeAdapter(AnyEvent)


class EventBatch(Schema):
    """The events of one AMQP message."""

    v: int = 1
    events: tuple[AnyEvent, ...]

    def wire(self) -> bytes:
        """Return the JSON of the batch as it travels."""
        return to_json({"events": [_values(event) for event in self.events]})


def read_event(text: str | bytes) -> Event:
    """Return the event that is this JSON.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _ANY.validate_json(text)


def recall(values: Mapping[str, Any]) -> Event:
    """Return an event of the past from its stored values, whatever version wrote them."""
    name = EventName(values["event"])
    kind = KINDS[name]
    try:
        return kind.model_validate(values)
    except ValidationError:
        facts = values["data"]
        data = EventData.model_construct(_fields_set=set(facts), **facts)
        return kind.model_construct(**{**values, "event": name, "data": data})


def _values(event: Event) -> dict[str, Any]:
    """Return the event as it travels: no field that goes without saying."""
    values: dict[str, Any] = {"id": event.id, "event": event.event, "message": event.message}
    if event.account:
        values["account"] = event.account
    values["time"] = event.time
    if facts := event.data.facts:
        values["data"] = facts
    return values
