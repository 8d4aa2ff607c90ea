"""Changes of a lane's directives, checked; what they make is `schemas.lanes.Directives`."""

import ipaddress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.mail.reply import Reply
from postroad_common.schemas.lanes import EffectKind

_PLAIN = ("connections", "rate", "reason")


class BounceChange(BaseModel):
    """Mail that waits for the lane fails."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    reply: str = Field(max_length=500, description="An SMTP reply, such as `550 5.1.10 No mail`.")
    before: float | None = Field(
        None, gt=0, description="Only mail received before (Unix seconds); now without it."
    )

    @field_validator("reply")
    @classmethod
    def _is_permanent(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("It must be one line of text.")
        try:
            reply = Reply.parse(value)
        except ValueError as error:
            raise ValueError(f"No SMTP reply: {error}.") from error
        if not reply.is_permanent or not reply.text:
            raise ValueError("It must be 5yz, an enhanced status if you like, and a text.")
        return str(reply)


class RedirectChange(BaseModel):
    """The lane's mail goes to this host; private addresses are allowed."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(min_length=1, max_length=255, description="A name or an IP address.")
    port: int = Field(25, ge=1, le=65_535)
    tls: Literal["none", "opportunistic", "required"] = "opportunistic"

    @field_validator("host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value.strip("[]")))
        except ValueError:
            pass
        try:
            return normalise_domain(value)
        except AddressError as error:
            raise ValueError(str(error)) from error


class DirectivesChange(BaseModel):
    """What an operator wants changed of a lane; null (or false) takes a directive back.

    What is left out stays as it is.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    paused: bool | float | None = Field(
        None, description="True, or until when in Unix seconds; false lets it go on."
    )
    drain: bool | None = Field(
        None,
        description="As a pause, but connections are closed as soon as they carry nothing; the "
        "phase is `draining` until none is left, then `drained`.",
    )
    connections: float | None = Field(None, gt=0, le=10_000, description="Connections at most.")
    rate: float | None = Field(None, gt=0, le=100_000, description="Messages per second at most.")
    reason: str | None = Field(None, max_length=500, description="For people to read.")
    cancel: list[EffectKind] | None = Field(
        None, max_length=3, description="Forgets what the lane learnt itself until now."
    )
    bounce: BounceChange | None = Field(
        None, description="What waits now fails, here and in retry tiers; younger mail does not."
    )
    redirect: RedirectChange | None = Field(
        None, description="Send the mail elsewhere; forgets what was learnt of the old place."
    )
    simulate: list[EffectKind] | None = Field(
        None, max_length=3, description="Effects that are only shown, not carried out."
    )

    def changes(self, now: float) -> dict[str, Any]:
        """Return the fields that change, as they are stored; None takes one back."""
        given = self.model_fields_set
        found: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN if name in given}
        for name in ("paused", "drain"):
            if name in given:
                found[name] = getattr(self, name) or None
        if "simulate" in given:
            found["simulate"] = [kind.value for kind in self.simulate or ()] or None
        if "bounce" in given:
            found["bounce"] = bounce = self.bounce and self.bounce.model_dump()
            if bounce:
                bounce["before"] = min(now, bounce["before"] or now)
        cancel = set(self.cancel or ())
        if "redirect" in given:
            found["redirect"] = self.redirect and self.redirect.model_dump()
            cancel |= set(EffectKind)
        for kind in sorted(cancel):
            found[f"cancel.{kind.value}"] = now
        return found
