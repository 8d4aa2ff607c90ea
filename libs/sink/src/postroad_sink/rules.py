"""What a misbehaviour looks like: the JSON that `POST /behaviour` takes.

A rule says at which stage of a session it applies, to whom, under which condition, and what happens
then. `behaviour` keeps the rules that are in force and decides.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from postroad_sink.extensions import SWITCHES

MAX_RULES = 1000
_REPLY = re.compile(r"[245]\d\d(?: [^\r\x00]*)?")
_LONGEST_WAIT = 3600.0  # seconds


class RuleStage(StrEnum):
    """Where in a session a rule applies; `message` is the answer to the final dot."""

    CONNECT = "connect"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    MESSAGE = "message"


class Drop(StrEnum):
    """When the connection is closed: instead of the reply, or right behind it."""

    BEFORE = "before"
    AFTER = "after"


class Scope(StrEnum):
    """What a limit or a number of times is counted for."""

    ALL = "all"
    CLIENT = "client"
    SERVER = "server"
    SENDER = "sender"
    DOMAIN = "domain"
    RECIPIENT = "recipient"


_KNOW_SENDER = {RuleStage.MAIL, RuleStage.RCPT, RuleStage.DATA, RuleStage.MESSAGE}
_KNOW_RECIPIENT = {RuleStage.RCPT, RuleStage.DATA, RuleStage.MESSAGE}
_SCOPE_STAGES = {
    Scope.SENDER: _KNOW_SENDER,
    Scope.DOMAIN: _KNOW_RECIPIENT,
    Scope.RECIPIENT: {RuleStage.RCPT},
}
_CONNECTION_SCOPES = {Scope.ALL, Scope.CLIENT, Scope.SERVER, Scope.DOMAIN}


def _reply_text(value: object) -> object:
    """Bring the three spellings of a reply (text, number, object) into one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Mapping) and set(value) <= {"code", "text"} and "code" in value:
        return f"{value['code']} {value.get('text', '')}".rstrip()
    return value


def _checked_reply(value: object) -> object:
    value = _reply_text(value)
    if isinstance(value, str) and not _REPLY.fullmatch(value):
        raise ValueError('a reply starts with a code from 200 to 599, as in "450 4.2.0 Try later"')
    return value


def _checked_extensions(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    names = {str(name).upper(): switch for name, switch in value.items()}
    if unknown := sorted(set(names) - set(SWITCHES)):
        raise ValueError(f"unknown: {', '.join(unknown)}; known are {', '.join(SWITCHES)}")
    for name, switch in names.items():
        if not isinstance(switch, bool) and not (
            name == "SIZE" and isinstance(switch, int) and switch > 0
        ):
            raise ValueError(f"{name} is true or false" + (" or bytes" if name == "SIZE" else ""))
    return names


Pattern = Annotated[str, Field(max_length=320)]


class BehaviourRule(BaseModel):
    """One misbehaviour. Everything that is left out matches, or does nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: RuleStage = Field(default=RuleStage.RCPT, description="where it applies")
    name: str = Field(default="", max_length=100, description="for your own use")

    recipient: Pattern | None = Field(
        default=None,
        validation_alias=AliasChoices("recipient", "pattern"),
        description="shell pattern (fnmatch) on a recipient; any of them at data and message",
    )
    sender: Pattern | None = Field(default=None, description="shell pattern on the MAIL address")
    client: Pattern | None = Field(default=None, description="shell pattern on the client's IP")
    server: Pattern | None = Field(default=None, description="shell pattern on the sink's own IP")
    tls: bool | None = Field(default=None, description="only with, or only without TLS")
    authenticated: bool | None = Field(default=None, description="only after, or without AUTH")

    times: int | None = Field(default=None, ge=1, description="the first n times only")
    probability: float | None = Field(default=None, gt=0, le=1)
    connections: int | None = Field(
        default=None, ge=0, description="only while more than this many connections are open"
    )
    rate: float | None = Field(default=None, gt=0, description="only above this many per second")
    burst: float | None = Field(default=None, ge=1, description="how many at once; default: rate")
    per: Scope = Field(default=Scope.ALL, description="what times, connections, rate count for")

    reply: Annotated[str | None, BeforeValidator(_checked_reply)] = Field(
        default=None, description="code and text, as in '450 4.2.0 Try later'"
    )
    drop: Drop | None = Field(
        default=None, description="close the connection before or after the reply"
    )
    delay: float = Field(default=0, ge=0, le=_LONGEST_WAIT, description="seconds before the reply")
    latency: float = Field(
        default=0,
        ge=0,
        le=_LONGEST_WAIT,
        description="seconds every reply of the connection is under way, as on a long line",
    )
    extensions: Annotated[dict[str, bool | int] | None, BeforeValidator(_checked_extensions)] = None

    @model_validator(mode="before")
    @classmethod
    def _pattern_is_of_the_sender_at_mail(cls, value: object) -> object:
        if (
            isinstance(value, Mapping)
            and "pattern" in value
            and value.get("stage") == RuleStage.MAIL
        ):
            return {("sender" if key == "pattern" else key): item for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.recipient is not None and self.stage not in _KNOW_RECIPIENT:
            raise ValueError(f"no recipient is known at stage {self.stage}")
        if self.sender is not None and self.stage not in _KNOW_SENDER:
            raise ValueError(f"no sender is known at stage {self.stage}")
        if self.stage not in _SCOPE_STAGES.get(self.per, set(RuleStage)):
            raise ValueError(f"per {self.per} cannot be counted at stage {self.stage}")
        if self.connections is not None and self.per not in _CONNECTION_SCOPES:
            raise ValueError(f"connections cannot be counted per {self.per}")
        if self.shapes_line and self.stage is not RuleStage.CONNECT:
            raise ValueError("latency and extensions belong to stage connect")
        if self.shapes_line and (self.reply or self.drop or self.delay):
            raise ValueError("latency and extensions stand without reply, drop and delay")
        if self.burst is not None and self.rate is None:
            raise ValueError("burst needs rate")
        if self.stage is RuleStage.DATA and self.reply is not None and self.reply[0] == "2":
            raise ValueError("DATA can only be refused: 4xx or 5xx")
        if not (self.verdict_reply or self.drop or self.delay or self.shapes_line):
            raise ValueError("nothing would happen: say reply, drop, delay, latency or extensions")
        return self

    @property
    def shapes_line(self) -> bool:
        """Whether it says what a whole connection is like, and not what is answered."""
        return bool(self.latency) or bool(self.extensions)

    @property
    def verdict_reply(self) -> str | None:
        """The reply, with the usual words for a limit when none are given and nothing else is."""
        if self.reply is not None or self.drop or self.delay or self.shapes_line:
            return self.reply
        if self.connections is not None:
            return "421 4.7.0 Too many connections"
        if self.rate is not None:
            return "450 4.7.1 Too fast, slow down"
        return None
