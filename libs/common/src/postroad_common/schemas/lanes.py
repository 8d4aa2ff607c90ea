"""Lanes: the state that the sender writes for each, and the directives that operators give it.

The sender and the REST API share one MongoDB document per lane. What is in it is read here by
both: `LaneState` and `Directives` are shown by REST and dashboard, `StoredState` and
`StoredDirectives` have what only the document holds. Names of fields in MongoDB and JSON are the
aliases, where there are any; they stay as they are.

Times are Unix seconds, rates messages per second.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from math import inf
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    WithJsonSchema,
)

from postroad_common.mail.reply import Reply
from postroad_common.schemas.model import Schema

DEFAULT_REASON = "directed by an operator"

Number = StrictInt | StrictFloat
Positive = Annotated[Number, Field(gt=0)]


def _read_permanent(value: object) -> Reply:
    reply = value if isinstance(value, Reply) else Reply.parse(str(value))
    if not reply.is_permanent:
        raise ValueError("not a permanent reply")
    return reply


PermanentReply = Annotated[
    Reply,
    PlainValidator(_read_permanent),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]
"""A reply of class 5, in JSON as it stands on the wire: `550 5.4.1 Given up`."""


class Phase(StrEnum):
    """What a lane is doing."""

    IDLE = "idle"
    OPEN = "open"
    LIMITED = "limited"
    CLOSED = "closed"
    PAUSED = "paused"
    DRAINING = "draining"
    DRAINED = "drained"


class EffectKind(StrEnum):
    """What a lane learns to restrict, and what an operator may restrict or cancel."""

    CONNECTIONS = "connections"
    RATE = "rate"
    PAUSE = "pause"


class LimitKind(StrEnum):
    """A limit of the settings that restricts a lane."""

    CAP = "cap"
    WARMUP = "warmup"


class LaneDocument(Schema):
    """A part of the document of a lane. What a newer version adds is kept and shown."""

    model_config = ConfigDict(extra="allow", validate_by_name=True, validate_by_alias=True)

    collections: ClassVar[frozenset[str]] = frozenset()
    """Lists and tables: each item is understood, or left out, by itself."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return what `document` says; what is not understood is left out, the rest holds."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            faults = [fault["loc"] for fault in error.errors(include_url=False)]
        return cls.model_validate(cls._without(document, faults))

    @classmethod
    def _without(
        cls, document: Mapping[str, Any], faults: Iterable[tuple[int | str, ...]]
    ) -> dict[str, Any]:
        """Return `document` without the fields, items and entries at `faults`."""
        left = dict(document)
        items: dict[str, set[int | str]] = {}
        for place in faults:
            name = str(place[0])
            if name in cls.collections and len(place) > 1:
                items.setdefault(name, set()).add(place[1])
            else:
                left.pop(name, None)
        for name, unreadable in items.items():
            value = document[name]
            if isinstance(value, list):
                left[name] = [item for at, item in enumerate(value) if at not in unreadable]
            else:
                left[name] = {key: item for key, item in value.items() if key not in unreadable}
        return left

    def document(self) -> dict[str, Any]:
        """Return it as it is stored: what was never set is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class LaneEffect(Schema):
    """A restriction in force.

    `value`: connections, messages per second, messages a day, or when a pause ends. `until` is
    None where no time is known at which it ends by itself. One that is `pinned` was directed by an
    operator; a `simulated` one is shown and not acted upon.
    """

    kind: EffectKind | LimitKind
    value: Number
    reason: str = ""
    since: Number | None = None
    until: Number | None = None
    pinned: bool = False
    simulated: bool = False


class LaneState(LaneDocument):
    """What the process that owns a lane tells about it.

    `connections` are open and `busy` send; `window` is how many there may be, `rate` how many
    messages per second. `waiting` messages are in memory, about `requeued` were sent to wait
    elsewhere in the last minutes. `reason` is why it is not faster, or closed. `provider` runs the
    site, if that is known. `swept` is there with a directive to bounce: mail that was received
    before has been looked for in the lane's backlog.
    """

    phase: Phase = Phase.IDLE
    connections: int = 0
    busy: int = 0
    window: int = 0
    rate: Number | None = None
    waiting: int = 0
    requeued: int = Field(0, alias="parked")
    reason: str = ""
    effects: list[LaneEffect] = Field(default_factory=list)
    provider: str | None = Field(None, exclude_if=lambda provider: provider is None)
    swept: Number | None = Field(None, exclude_if=lambda swept: swept is None)

    collections = frozenset({"effects"})


class LearntLimits(LaneDocument):
    """What a lane has learnt, for the process that owns it next.

    `window` and `ceiling` are connections, `limit` and `rate_ceiling` messages per second;
    `allowance` is the receiver's bucket in messages, `penalty` how long a wait was enough, in
    seconds. `utilisation` has connections, reason and since when; `reasons` a text and a time;
    `pins` value, reason and since when.
    """

    window: Number | None = None
    ceiling: int | None = None
    limit: Number | None = None
    rate_ceiling: Number | None = None
    allowance: Number | None = None
    penalty: Number | None = Field(None, alias="bar")
    utilisation: tuple[int | None, str, Number] | None = Field(None, alias="gain")
    closed_until: Number | None = None
    strikes: int = 0
    reasons: dict[EffectKind, tuple[str, Number]] = Field(default_factory=dict)
    pins: dict[EffectKind, tuple[Number, str, Number]] = Field(default_factory=dict)
    swept: Number = 0.0

    collections = frozenset({"reasons", "pins"})


class StoredState(LaneState):
    """A lane's state with what is for the next process."""

    learnt: LearntLimits | None = Field(None, exclude_if=lambda learnt: learnt is None)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return what `document` says; what was learnt is read by itself."""
        shown = {name: value for name, value in document.items() if name != "learnt"}
        learnt = document.get("learnt")
        if isinstance(learnt, Mapping):
            shown["learnt"] = LearntLimits.read(learnt)
        return super().read(shown)


class BounceDirective(Schema):
    """Mail that was received before a time fails with `reply`, unsent."""

    reply: PermanentReply
    before: Number


class RedirectDirective(Schema):
    """The lane's mail goes to this host instead: what operators name may be anywhere."""

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 25
    tls: Literal["none", "opportunistic", "required"] = "opportunistic"


class Directives(LaneDocument):
    """All directives in force for one lane. A field that is not there directs nothing.

    `paused` is true, or until when. `drain` is a pause, too, for which connections are closed at
    once. `cancel`: what was learnt of that kind until then is forgotten. `simulate`: kinds of
    effects that are only shown.
    """

    paused: StrictBool | Positive | None = None
    drain: StrictBool = False
    connections: Positive | None = None
    rate: Positive | None = None
    reason: str | None = None
    cancel: dict[EffectKind, Number] = Field(default_factory=dict)
    bounce: BounceDirective | None = None
    redirect: RedirectDirective | None = None
    simulate: list[EffectKind] = Field(default_factory=list)

    collections = frozenset({"cancel", "simulate"})

    @property
    def paused_until(self) -> float | None:
        """When its pause ends: infinite for one without end, None where there is none."""
        if self.drain or self.paused is True:
            return inf
        return None if self.paused is None or self.paused is False else float(self.paused)

    @property
    def why(self) -> str:
        """What is shown as the reason of what it does."""
        return self.reason or DEFAULT_REASON


class Given(Schema):
    """Who gave the last directive (the id of a token, or a user of the dashboard), and when."""

    by: str = ""
    at: Number


class StoredDirectives(Directives):
    """A lane's directives with who gave the last one."""

    given: Given | None = None


NO_DIRECTIVES = StoredDirectives()
