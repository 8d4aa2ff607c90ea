"""Limits that several lanes share, and all those that apply to one lane.

A shared limit counts the lanes of one subject together: connections (`connection_limit`), messages
per second (`rate_limit`) and messages per day (`quotas`), each if there is a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from postroad_common.schemas.lanes import LimitKind
from postroad_sender.limits.cluster_limit import LimitWaiters
from postroad_sender.limits.connection_limit import ConnectionLimit, Idler, Waiter
from postroad_sender.limits.daily_quota import DailyQuota
from postroad_sender.limits.rate_limit import RateLimit, may_pass


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit in force, as it is shown: times are Unix seconds.

    It has `until` if nothing begins because of it, and then begins again.
    """

    kind: LimitKind
    value: float
    reason: str
    since: float
    until: float | None = None


class SharedLimit:
    """One subject's limits. `home` is the shard that it is local to; empty: to none."""

    __slots__ = (
        "__weakref__",
        "connection_limit",
        "home",
        "quotas",
        "rate_limit",
        "since",
        "subject",
        "waiters",
    )

    def __init__(
        self,
        subject: str,
        home: str,
        *,
        since: float,
        connection_limit: ConnectionLimit | None = None,
        rate_limit: RateLimit | None = None,
        quotas: tuple[DailyQuota, ...] = (),
        waiters: LimitWaiters | None = None,
    ) -> None:
        self.subject = subject
        self.home = home
        self.since = since
        self.connection_limit = connection_limit
        self.rate_limit = rate_limit
        self.quotas = quotas
        self.waiters = waiters

    def states(self) -> list[LimitState]:
        """Return the limits in force."""
        found = []
        if self.connection_limit is not None:
            used, allowed = self.connection_limit.used, self.connection_limit.most
            text = f"cap of {self.subject}: {used} of {allowed} connections"
            found.append(LimitState(LimitKind.CAP, allowed, text, self.since))
        if self.rate_limit is not None:
            text = f"cap of {self.subject}: {self.rate_limit.rate:g} messages per second"
            found.append(LimitState(LimitKind.CAP, self.rate_limit.rate, text, self.since))
        found += [
            LimitState(quota.kind, most, quota.why(), self.since, quota.opens_at())
            for quota in self.quotas
            if (most := quota.most) is not None
        ]
        return found


class LaneLimits:
    """All limits that apply to one lane."""

    def __init__(self, shared_limits: Sequence[SharedLimit]) -> None:
        self.shared_limits = tuple(shared_limits)
        self._connection_limits = tuple(
            shared.connection_limit
            for shared in shared_limits
            if shared.connection_limit is not None
        )
        self._rate_limits = tuple(
            shared.rate_limit for shared in shared_limits if shared.rate_limit is not None
        )
        self._quotas = tuple(quota for shared in shared_limits for quota in shared.quotas)
        self._waiters = tuple(
            shared.waiters for shared in shared_limits if shared.waiters is not None
        )

    # -- connections

    def take(self, waiter: Waiter) -> bool:
        """Whether one more connection may be opened now. If not, `waiter` is woken when it may."""
        for connection_limit in self._connection_limits:
            if not connection_limit.ask(waiter):
                self._wait(waiter)
                return False
        for connection_limit in self._connection_limits:
            connection_limit.acquire(waiter)
        return True

    def give_back(self) -> None:
        """Give a connection back."""
        for connection_limit in self._connection_limits:
            connection_limit.release()

    def is_over(self) -> bool:
        """Whether a connection has to go: there are more than there may be now."""
        return any(connection_limit.is_over for connection_limit in self._connection_limits)

    def is_wanted_by_others(self, waiter: Waiter) -> bool:
        """Whether another lane waits for a connection."""
        return any(limit.is_wanted_by_others(waiter) for limit in self._connection_limits)

    def idle(self, idler: Idler) -> None:
        """Note that `idler` carries nothing now."""
        for connection_limit in self._connection_limits:
            connection_limit.idle[idler] = None

    def busy(self, idler: Idler) -> None:
        """Note that `idler` works again, or is gone."""
        for connection_limit in self._connection_limits:
            connection_limit.idle.pop(idler, None)

    # -- messages

    def may(self, waiter: Waiter, now: float, *, ready: bool) -> bool:
        """Whether a message may begin now. If not, `waiter` is woken when it is its turn."""
        if not all([quota.may(waiter) for quota in self._quotas]):  # noqa: C419 - ask them all
            return False
        if may_pass(self._rate_limits, waiter, now, ready=ready):
            return True
        self._wait(waiter)
        return False

    def begin(self, now: float) -> None:
        """Count a message that begins."""
        for quota in self._quotas:
            quota.spend()
        for rate_limit in self._rate_limits:
            rate_limit.spend(now)

    def _wait(self, waiter: Waiter) -> None:
        for waiters in self._waiters:
            waiters.add(waiter)

    def closed_for(self) -> float:
        """Seconds for which no message begins, because of limits for a day."""
        return max((quota.closed_for() for quota in self._quotas), default=0.0)

    def why_closed(self) -> str:
        """Return the limit that is used up for longest."""
        closed = [(quota.closed_for(), quota) for quota in self._quotas]
        longest = max(closed, key=lambda pair: pair[0], default=None)
        return "" if longest is None or longest[0] <= 0.0 else longest[1].why()

    def kind_closed(self) -> LimitKind | None:
        """Return the kind of the first limit that is used up."""
        return next((quota.kind for quota in self._quotas if quota.closed_for() > 0.0), None)

    def share_left(self) -> float:
        """Return what is left of today, from 0.0 to 1.0."""
        return min((quota.share_left() for quota in self._quotas), default=1.0)

    def forget(self, waiter: Waiter) -> None:
        """Stop waiting for anything."""
        for connection_limit in self._connection_limits:
            connection_limit.forget(waiter)
        for rate_limit in self._rate_limits:
            rate_limit.forget(waiter)
        for quota in self._quotas:
            quota.forget(waiter)

    def states(self) -> list[LimitState]:
        """Return the limits in force."""
        return [state for shared in self.shared_limits for state in shared.states()]
