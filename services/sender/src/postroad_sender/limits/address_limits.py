"""Address limits: how many connections there may be to one address, whatever lanes they are of.

Many sites may be one machine: at a shared host each domain has an MX name of its own, and they all
have the same address. There are two limits: a fixed one, which each replica has its share of, and
what the server shows. When it refuses a connection while other lanes have some, it takes as many as
are open; the lane whose connection was refused waits for its turn, and no mail is deferred. After
10, 20, 30 seconds there may be 1, 3, 7 more.

Sources are counted apart, as receivers do. What a lane learns by itself is in its controller.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from postroad_common.schemas.lanes import LimitKind
from postroad_sender.limits.connection_limit import ConnectionLimit, Waiter
from postroad_sender.limits.shared_limit import LimitState

MORE_EVERY = 10.0  # seconds in which what may be tried beyond the number that was shown doubles
TURN = 20  # messages after which a connection makes room for another lane that waits
JUST_CLOSED = 2.0  # seconds in which a server may still count a connection that was closed
_MANY = 1000  # addresses


class AddressLimit(ConnectionLimit):
    """The connections from one source to one address.

    `shown` is how many were open when the server refused another, None before it has.
    """

    def __init__(self, name: str, fixed: Callable[[], int], clock: Callable[[], float]) -> None:
        super().__init__(fixed())
        self.name = name
        self.shown: int | None = None
        self._fixed = fixed
        self._clock = clock
        self._shown_at = 0.0
        self._closed: deque[tuple[Hashable, float]] = deque(maxlen=8)
        self._places: Counter[Hashable] = Counter()
        self._open: Counter[Hashable] = Counter()

    @property
    def is_over(self) -> bool:
        """Whether more are open than there may be; what is opening may yet be refused."""
        self._refresh()
        return self._open.total() > self.most

    def ask(self, waiter: Waiter) -> bool:
        """Whether one is free. If not, `waiter` is woken when one is."""
        self._refresh()
        return super().ask(waiter)

    def take(self, lane: Hashable) -> "AddressPlace | None":
        """Return a place for one more connection of `lane`; None if there is none."""
        self._refresh()
        if self.used >= self.most:
            return None
        self.used += 1
        self._places[lane] += 1
        return AddressPlace(self, lane)

    def why(self) -> str:
        """Return what a lane waits for."""
        self._refresh()
        if self.shown is not None and self.most < self._fixed():
            cause = f"the server refused another when {self.shown} were open"
        else:
            cause = "POSTROAD_SENDER_ADDRESS_CONNECTIONS, this replica's share"
        lanes = len(self._places)
        return f"connections to {self.name}: {self.used} of {self.most}, of {lanes} lanes ({cause})"

    def opened(self, lane: Hashable) -> None:
        """Note that a connection of `lane` is ready to carry mail."""
        self._open[lane] += 1
        if self.shown is not None:
            self.shown = max(self.shown, self._open.total())

    def refused(self, lane: Hashable) -> bool:
        """Take up that the server has refused a connection of `lane`.

        Whether it may be because of those of other lanes, or of such that were closed a moment
        ago: then `lane` is to wait.
        """
        now = self._clock()
        others = self._places.total() - self._places[lane]
        if not others and not any(
            other != lane and now - at < JUST_CLOSED for other, at in self._closed
        ):
            return False
        self.shown = max(1, self._open.total())
        self._shown_at = now
        return True

    def give_back(self, lane: Hashable, *, was_open: bool) -> None:
        """Count a connection of `lane` no more."""
        _count_down(self._places, lane)
        if was_open:
            _count_down(self._open, lane)
            self._closed.append((lane, self._clock()))
        self.release()

    def _refresh(self) -> None:
        self.most = self._fixed()
        if self.shown is not None:
            doublings = min(20.0, (self._clock() - self._shown_at) / MORE_EVERY)
            self.most = min(self.most, self.shown + int(2.0**doublings) - 1)


@dataclass(frozen=True, slots=True)
class AddressWait:
    """That a lane waits for room at an address, `since` then (Unix seconds)."""

    limit: AddressLimit
    since: float

    @property
    def reason(self) -> str:
        """What it waits for, as it is now."""
        return f"waits for {self.limit.why()}"

    def state(self) -> LimitState:
        """Return it as it is shown among the limits in force."""
        reason = self.reason
        return LimitState(LimitKind.CAP, self.limit.most, reason, self.since)


class AddressPlace:
    """The place of one connection, until it is given back."""

    def __init__(self, limit: AddressLimit, lane: Hashable) -> None:
        self.limit = limit
        self._lane = lane
        self._is_open = False
        self._is_given_back = False

    def opened(self) -> None:
        """Note that the connection is ready to carry mail."""
        self._is_open = True
        self.limit.opened(self._lane)

    def refused(self) -> bool:
        """Take up that the server refused it. Whether the lane is to wait for others."""
        return self.limit.refused(self._lane)

    def is_to_end(self, waiter: Waiter, messages: int) -> bool:
        """Whether the connection, which has carried `messages`, has to make room."""
        limit = self.limit
        return limit.is_over or (messages >= TURN and limit.is_wanted_by_others(waiter))

    def give_back(self) -> None:
        """Count the connection no more; calling it again does nothing."""
        if not self._is_given_back:
            self._is_given_back = True
            self.limit.give_back(self._lane, was_open=self._is_open)


class AddressLimits:
    """One per process. `most` connections from a source to an address, of which `share` is ours.

    Each process has one at least.
    """

    def __init__(
        self, most: int, clock: Callable[[], float], share: Callable[[], float] = lambda: 1.0
    ) -> None:
        self._most = most
        self._share = share
        self._clock = clock
        self._limits: dict[tuple[str, str, int], AddressLimit] = {}
        self._look_at = _MANY

    def of(self, source: str, address: str, port: int) -> AddressLimit:
        """Return the limit for connections from `source` to `port` at `address`."""
        self._forget_unused()
        key = (source, address, port)
        found = self._limits.get(key)
        if found is None:
            name = address if port == 25 else f"{address} port {port}"
            found = self._limits[key] = AddressLimit(name, self._fixed, self._clock)
        return found

    def _fixed(self) -> int:
        return max(1, int(self._most * self._share()))

    def _forget_unused(self) -> None:
        """Forget addresses without connections, whenever they have become twice as many."""
        if len(self._limits) >= self._look_at:
            self._limits = {key: limit for key, limit in self._limits.items() if limit.used}
            self._look_at = max(_MANY, 2 * len(self._limits))


def _count_down(counter: Counter[Hashable], key: Hashable) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
