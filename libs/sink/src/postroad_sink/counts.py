"""Counts what the sink did, and who is connected now. Bounded: no client can make it grow forever.

Times are Unix seconds.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from postroad_sink.rules import RuleStage, Scope

MOST_DOMAINS = 20_000
_OTHERS = "(other domains)"


@dataclass(slots=True)
class DomainCount:
    """One recipient domain; its connections are those that named a recipient of it."""

    accepted: int = 0
    refused: int = 0
    connections_max: int = 0


class Presence:
    """The connections open now: in all, by client, by server address, by recipient domain."""

    def __init__(self) -> None:
        self._open: dict[tuple[Scope, str], int] = {}

    def open(self, scope: Scope, key: str) -> int:
        """How many are open."""
        return self._open.get((scope, key), 0)

    def enter(self, scope: Scope, key: str) -> int:
        """Count one in; how many are open now."""
        count = self._open.get((scope, key), 0) + 1
        self._open[scope, key] = count
        return count

    def leave(self, scope: Scope, key: str) -> int:
        """Count one out; how many are left."""
        count = self._open[scope, key] - 1
        if count:
            self._open[scope, key] = count
        else:
            del self._open[scope, key]
        return count


@dataclass(slots=True)
class Counts:
    """Everything since the start, or since the last reset.

    `accepted` counts messages, `recipients` their recipients, `bytes` the size of the messages.
    `interrupted` are connections that ended between DATA and the final dot, `tls_failed` those
    whose handshake did not succeed.
    """

    accepted: int = 0
    recipients: int = 0
    bytes: int = 0
    first: float | None = None
    last: float | None = None
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RuleStage, 0))
    connections_max: int = 0
    connections_total: int = 0
    interrupted: int = 0
    tls_sessions: int = 0
    tls_failed: int = 0
    domains: dict[str, DomainCount] = field(default_factory=dict)

    def domain(self, name: str) -> DomainCount:
        """Return the counts of a domain; those of all others together when there are too many."""
        count = self.domains.get(name)
        if count is None:
            if len(self.domains) >= MOST_DOMAINS:
                name = _OTHERS
            count = self.domains.setdefault(name, DomainCount())
        return count

    def reset(self, presence: Presence) -> None:
        """Begin anew; what is open now is the greatest number so far."""
        fresh = Counts(connections_max=presence.open(Scope.ALL, ""))
        for name in self.domains:
            if now := presence.open(Scope.DOMAIN, name):
                fresh.domains[name] = DomainCount(connections_max=now)
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))

    def as_json(self, presence: Presence) -> dict[str, Any]:
        """Return what `GET /counts` answers."""
        values = asdict(self)
        values["connections"] = {
            "now": presence.open(Scope.ALL, ""),
            "max": values.pop("connections_max"),
            "total": values.pop("connections_total"),
        }
        for name, domain in values["domains"].items():
            domain["connections"] = {
                "now": presence.open(Scope.DOMAIN, name),
                "max": domain.pop("connections_max"),
            }
        return values
