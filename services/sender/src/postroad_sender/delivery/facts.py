"""What is written down about an attempt: in its event, in the journal, in a DSN."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from postroad_sender.delivery.outcome import Outcome

REPLY_LIMIT = 1000  # characters of a reply that are kept


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One attempt for one recipient.

    `host` and `ip` are the server's, `tls` and `tls_policy` what protected the connection. `local`:
    the reply is ours. `uncertain`: the message may have arrived all the same. `next` (Unix seconds)
    and `reason` (a `Classification`) are those of a deferral. `provider` runs the servers.
    """

    reply: str = ""
    code: int = 0
    stage: str = ""
    enhanced: str = ""
    host: str = ""
    ip: str = ""
    tls: str = ""
    tls_policy: Mapping[str, Any] | None = None
    local: bool = False
    uncertain: bool = False
    expired: bool = False
    next: float | None = None
    reason: str = ""
    requeue: str = ""
    provider: str = ""
    simulated: bool = False

    def to_data(self) -> dict[str, Any]:
        """Return the fields that say something, as JSON values."""
        always = {"reply": self.reply, "code": self.code, "stage": self.stage}
        rest = {field.name: getattr(self, field.name) for field in fields(self)[3:]}
        return always | {name: value for name, value in rest.items() if value}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "AttemptFacts":
        """Read what `to_data` gave; fields that other versions wrote are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


def facts_of(outcome: Outcome, **more: Any) -> AttemptFacts:
    """Return what there is to say about `outcome`."""
    server = outcome.server
    where: dict[str, Any] = {}
    if server is not None:
        where = {"host": server.host, "ip": server.ip, "tls": server.tls}
    return AttemptFacts(
        reply=str(outcome.reply)[:REPLY_LIMIT],
        code=outcome.reply.code,
        stage=outcome.stage.value,
        enhanced=outcome.reply.enhanced,
        tls_policy=outcome.policy if server is None else server.policy,
        local=outcome.local,
        uncertain=not outcome.certain,
        simulated=outcome.simulated,
        **where,
        **more,
    )


def conversation(outcome: Outcome) -> dict[str, Any]:
    """Return what was said about the recipient; only for the event: it is long."""
    return {"conversation": outcome.said} if outcome.said else {}
