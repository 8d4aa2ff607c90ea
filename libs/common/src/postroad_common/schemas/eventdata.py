"""What the events tell beside the message and the time: one model per kind of event.

The fields stand in the order of the wire, and only those that were set go on it. All have
defaults: the store keeps less of some events than was told, and what an older version wrote has to
be read. What a newer version tells beside them stays, as it is, and is passed on.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

PASS_ON = ConfigDict(extra="allow")
OTHER_PROVIDER = "other"
"""The provider of all receiving servers that no rule names."""


class StoredBody(TypedDict, total=False):
    """`BodyReference`, as events tell it."""

    __pydantic_config__ = PASS_ON  # type: ignore[misc]  # pydantic's way to configure a TypedDict
    file: str
    size: int


class FeatureFlags(TypedDict, total=False):
    """`Features`, as events tell them."""

    __pydantic_config__ = PASS_ON  # type: ignore[misc]  # as above
    inlinecss: bool
    clicktracking: bool
    openstracking: bool
    preventscam: bool
    bouncetracking: bool


class ClientFacts(TypedDict, total=False):
    """`Client`, as events tell it."""

    __pydantic_config__ = PASS_ON  # type: ignore[misc]  # as above
    ip: str
    helo: str
    tls: str
    protocol: str


class EventData(BaseModel):
    """The parent of all. `kind` is that of mail Postroad wrote itself (`OutboundMessage.kind`)."""

    model_config = ConfigDict(
        frozen=True, extra="allow", allow_inf_nan=False, populate_by_name=True
    )

    kind: str | None = None
    _wire: ClassVar[tuple[tuple[str, str], ...]] = ()
    _defaults: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Note the names that the fields have on the wire."""
        fields = cls.model_fields.items()
        cls._wire = tuple((name, field.alias or name) for name, field in fields)
        cls._defaults = {name: field.default for name, field in fields}

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What was told, JSON values by their names on the wire."""
        told, values = self.__pydantic_fields_set__, self.__dict__
        facts = {wire: values[name] for name, wire in self._wire if name in told}
        return facts | self.__pydantic_extra__ if self.__pydantic_extra__ else facts

    @classmethod
    def checked(cls, facts: dict[str, Any]) -> Self:
        """Return the data that `facts` are.

        Raises:
            pydantic.ValidationError: they are not.
        """
        data = cls.model_validate(facts)
        data.__dict__["facts"] = facts
        return data

    @classmethod
    def trusted(cls, facts: dict[str, Any]) -> Self:
        """Return the data that `facts` are known to be, unchecked: for hot paths and for the past.

        All their names must be those of fields, and no field may have another name on the wire.
        """
        data = cls.__new__(cls)
        fill = object.__setattr__
        fill(data, "__dict__", {**cls._defaults, **facts, "facts": facts})
        fill(data, "__pydantic_fields_set__", set(facts))
        fill(data, "__pydantic_extra__", None)
        fill(data, "__pydantic_private__", None)
        return data


class AttemptStarted(EventData):
    """Nothing is told of an attempt that has only begun."""


class MessageFacts(EventData):
    """What the message record needs: told by the ingress and, should that be lost, once more.

    `about` is the message that Postroad's own mail is about; `test`: it is not to be sent. Times
    are Unix seconds; `size` is in octets.
    """

    about: str | None = None
    body: StoredBody | None = None
    submission: str = ""
    credential: str = ""
    source: str = ""
    received: float = 0.0
    envelope: str = ""
    sender: str = ""
    recipient: str = ""
    notify: list[str] = []
    orcpt: str | None = None
    ret: str | None = None
    envid: str | None = None
    features: FeatureFlags | None = None
    forward_bounces: bool = False
    tags: list[str] | None = None
    message_id_hash: int = 0
    metadata: dict[str, str] = {}
    list: str = ""
    traceparent: str = ""
    template: str = ""
    subject: str = ""
    size: int = 0
    expires: float = 0.0
    test: bool = False


class AcceptedData(MessageFacts):
    """Who handed the message in, where that is known, and how many lone LF were repaired.

    `send_at` is when it is to be sent, Unix seconds.
    """

    client: ClientFacts | None = None
    line_ends_repaired: int = 0
    send_at: float | None = None


class ScheduleData(EventData):
    """When it is to be sent now (Unix seconds), and who wanted it so."""

    send_at: float = 0.0
    by: str = ""


class TransformedData(MessageFacts):
    """What was done to the message, and what not and why."""

    changes: dict[str, Any] = {}


class SuppressedData(MessageFacts):
    """Why the recipient is on the list, and since when (Unix seconds)."""

    reason: str = ""
    since: float | None = None


class WithheldData(EventData):
    """Why the message was not handed to the network: it is a test."""

    test: bool = False


class CancelledData(EventData):
    """Who took the message back (the id of a token, or a user), and when (Unix seconds)."""

    kind: str | None = None
    by: str = ""
    given: float = 0.0


class AttemptData(EventData):
    """How an attempt ended. `attempt` counts from 0; `next` is the time of the next (Unix seconds).

    `local`: the reply is ours; `uncertain`: the server may have taken the message all the same;
    `suspended`: no attempt was made.
    """

    attempt: int | None = None
    kind: str | None = None
    reply: str | None = None
    code: int | None = None
    stage: str | None = None
    enhanced: str | None = None
    host: str | None = None
    ip: str | None = None
    tls: str | None = None
    tls_policy: dict[str, Any] | None = None
    local: bool = False
    uncertain: bool = False
    expired: bool = False
    next: float | None = None
    reason: str | None = None
    requeue: str | None = None
    """Why the message waits (`RequeueReason`), where it does."""
    provider: str | None = None
    """Who runs the receiving servers, as in the sender's metrics; `OTHER_PROVIDER` if not known."""
    suspended: bool = False
    conversation: str | None = None
    simulated: bool = False
    """The simulator made it up; no server was asked."""


class ReturnData(EventData):
    """What came back, as the bounce-processor understood it. `size` is in octets.

    `host` reported, `remote` refused. `confidence` is between 0 and 1.
    """

    recipient: str | None = None
    return_id: str | None = Field(default=None, alias="return")
    source: str | None = None
    confidence: float | None = None
    forwarded: bool = False
    size: int | None = None
    type: str | None = None
    bounce_class: str | None = Field(default=None, alias="class")
    hard: bool = False
    code: int | None = None
    enhanced: str | None = None
    diagnostic: str | None = None
    host: str | None = None
    remote: str | None = None
    detail: str | None = None
    forward: str | None = None
    failed_recipient: str | None = None
    proof: str | None = None
    """By what a complaint of a feedback loop is known to be about this message."""
    simulated: bool = False
    """The simulator made it up; nobody sent it."""


class VisitData(EventData):
    """A request at the tracker. `machine`: no person made it, for the `reason` given."""

    ip: str | None = None
    machine: bool = False
    reason: str | None = None
    url: str | None = None
    link: int | None = None
    user_agent: str | None = None
    referer: str | None = None
    simulated: bool = False
    """The simulator made it up; nobody asked for anything."""


class NotifiedData(EventData):
    """Who was told what (RFC 3464); `notification` is the id of that mail."""

    outcome: str | None = None
    to: str | None = None
    notification: str | None = None
