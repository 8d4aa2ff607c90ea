"""Lanes: one for each (source address, site), with the messages that wait for it in this process.

Pure bookkeeping: what waits, what is being sent, what may start now and when next. Accounts take
turns, so that one big mailing does not make everybody else wait. `worker` does what is decided
here; the speed is the business of `throttle.controller`.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.lanes import NO_DIRECTIVES, Directives, LimitKind
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.limits.address_limits import AddressWait
from postroad_sender.limits.shared_limit import LaneLimits
from postroad_sender.throttle.controller import Controller


def fair_level(counts: Sequence[int], room: int) -> int:
    """How many each may keep at most so that together they fit into `room`; 1 at least.

    Those that have less keep all of it: only the largest give away.
    """
    left, level = room, 0
    for number, count in enumerate(sorted(counts)):
        level = left // (len(counts) - number)
        if count > level:
            return max(1, level)
        left -= count
    return max(1, max(counts, default=1))


class LaneMessage(Protocol):
    """What a lane needs to know of a message."""

    account: str
    since: float


W = TypeVar("W", bound=LaneMessage)

SLOW_AFTER = 1.0  # seconds that the first in the queue has waited
SWIFT = 200.0  # messages per second for which it may be a second more
STILL_AFTER = 0.1  # the same, while nothing at all was taken
PRESSURE = 0.75  # of the messages that a shard may have in this process
UNKNOWN_SPEED = 20.0  # messages per second, of a lane that has shown nothing yet
REQUEUED_FOR = 300.0  # seconds; memory of how many messages were sent away
SHARE = 0.5  # of what is left then, for one slow lane
FEW = 4  # messages that never crowd: a lane that just opens its first connection has done no harm


class Lane(Generic[W]):
    """The state of one lane. `working` counts open connections, `busy` those that send.

    It is `in_doubt` when one failed to open while none works: what comes of the others that are
    opening tells whether the site is closed, and until then no other is opened.

    `limits` are the caps and warm-ups that it has to keep together with others, if there are any;
    `waits_for` is what keeps it from opening a connection, at the address that it goes to.

    `moved` is when a server last took or refused one of its messages (loop time). `swept` is the
    time (Unix) up to which mail that is to bounce has been looked for in the queue of its
    backlog.
    """

    __slots__ = (
        "_queues",
        "_requeue_until",
        "_requeued",
        "_requeued_at",
        "_size",
        "busy",
        "controller",
        "directives",
        "in_doubt",
        "key",
        "limits",
        "moved",
        "opening",
        "provider",
        "swept",
        "used",
        "waits_for",
        "working",
    )

    def __init__(
        self,
        key: LaneKey,
        controller: Controller,
        now: float,
        *,
        provider: str = "",
        limits: LaneLimits | None = None,
    ) -> None:
        self.key = key
        self.controller = controller
        self.working = 0
        self.opening = 0
        self.in_doubt = False
        self.busy = 0
        self.used = now
        self.moved = 0.0
        self.provider = provider
        self.limits = limits
        self.waits_for: AddressWait | None = None
        self.directives: Directives = NO_DIRECTIVES
        self.swept = 0.0
        self._queues: OrderedDict[str, deque[W]] = OrderedDict()
        self._size = 0
        self._requeue_until = 0.0
        self._requeued = 0.0
        self._requeued_at = now

    def __len__(self) -> int:
        """How many messages wait."""
        return self._size

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is connected."""
        return not self._size and not self.working and not self.opening

    def closed_for(self, now: float) -> float:
        """Seconds for which nothing at all is sent; 0.0 if the lane is open."""
        closed = self.controller.closed_for(now)
        return closed if self.limits is None else max(closed, self.limits.closed_for())

    def why_closed(self, now: float) -> str:
        """Why nothing is sent."""
        if self.limits is not None and self.limits.closed_for() > self.controller.closed_for(now):
            return self.limits.why_closed()
        return self.controller.why_closed()

    def requeue_reason(self, now: float) -> RequeueReason:
        """Why a message that finds the lane closed goes back to a queue."""
        if self.limits is not None and self.limits.closed_for() > self.controller.closed_for(now):
            is_warmup = self.limits.kind_closed() is LimitKind.WARMUP
            return RequeueReason.WARMUP if is_warmup else RequeueReason.LIMIT_REACHED
        if self.controller.is_paused:
            return RequeueReason.PAUSED
        return RequeueReason.LANE_CLOSED

    def put(self, work: W) -> None:
        """Last in the queue of its account."""
        self._queues.setdefault(work.account, deque()).append(work)
        self._size += 1

    def put_back(self, work: W) -> None:
        """First in the queue of its account: it was taken and could not be sent."""
        self._queues.setdefault(work.account, deque()).appendleft(work)
        self._size += 1

    def head(self) -> W | None:
        """Return the message whose turn it is."""
        return next(iter(self._queues.values()))[0] if self._size else None

    def take(self, fits: Callable[[W], bool] | None = None) -> W | None:
        """Take the next message that `fits` (any, if None); accounts take turns."""
        if not self._size:
            return None
        for account, queue in self._queues.items():  # noqa: B007 - used below
            if fits is None or fits(queue[0]):
                break
        else:
            return None
        work = queue.popleft()
        if queue:
            self._queues.move_to_end(account)
        else:
            del self._queues[account]
        self._size -= 1
        return work

    def take_all(self) -> list[W]:
        """Everything that waits."""
        found = [work for queue in self._queues.values() for work in queue]
        self._queues.clear()
        self._size = 0
        return found

    def shed(self, keep: int, concerns: Callable[[W], bool]) -> list[W]:
        """Give away those that `concerns` is true for, all but the `keep` that are next.

        Accounts take turns here, too: who has most gives most away.
        """
        concerned = [
            (place, work.since, work)
            for queue in self._queues.values()
            for place, work in enumerate(work for work in queue if concerns(work))
        ]
        concerned.sort(key=lambda entry: entry[:2])
        given = [work for _, _, work in concerned[keep:]]
        leaving = {id(work) for work in given}
        for account, queue in list(self._queues.items()):
            left = deque(work for work in queue if id(work) not in leaving)
            if left:
                self._queues[account] = left
            else:
                del self._queues[account]
        self._size -= len(given)
        return given

    def head_age(self, now: float) -> float:
        """Seconds that the longest waiting first-in-queue has waited."""
        return max((now - queue[0].since for queue in self._queues.values()), default=0.0)

    def is_slow(self, now: float, patience: float = 0.0) -> bool:
        """Whether the first in the queue has waited too long, or even a little and nothing moves.

        `patience` is how many seconds this process itself may be to blame for.
        """
        age = self.head_age(now)
        if min(age, now - self.moved) > STILL_AFTER + patience:
            return True
        if age <= SLOW_AFTER + patience:
            return False
        # one that takes very much is held up by this process: putting it aside would cost as much
        return age > SLOW_AFTER + patience + (self.controller.rate.measured(now) or 0.0) / SWIFT

    def is_crowding(
        self, held: int, capacity: int, now: float, account: str = "", *, patience: float = 0.0
    ) -> bool:
        """Whether one more message would take the room that other lanes need.

        `held` of at most `capacity` messages of the shard are in this process. A lane that moves
        may fill it: nobody waits long behind it. A slow one gets only a share of what is left, so
        that however many lanes are slow, something is left for the next. An `account` with a few
        messages does not wait elsewhere because of those that have many.
        """
        if self._size <= max(FEW, SHARE * (capacity - held)):
            return False
        if account and len(self._queues.get(account, ())) < FEW:
            return False
        return self.is_slow(now, patience)

    def count(self, concerns: Callable[[W], bool]) -> int:
        """How many wait that `concerns` is true for."""
        return sum(1 for queue in self._queues.values() for work in queue if concerns(work))

    def connections_wanted(self, now: float) -> int:
        """How many connections should be opened now."""
        if not self._size or (self.in_doubt and self.opening):
            return 0
        allowed = self.controller.connections(now) - self.working - self.opening
        return max(0, min(allowed, self._size - self.opening))

    def requeued(self, now: float) -> float:
        """About how many messages have gone to wait elsewhere in the last minutes."""
        return self._requeued * math.exp((self._requeued_at - now) / REQUEUED_FOR)

    def note_requeued(self, now: float) -> None:
        """One more message goes to wait elsewhere."""
        self._requeued = self.requeued(now) + 1.0
        self._requeued_at = now

    def requeue_delay(self, now: float, longest: float) -> float:
        """Seconds after which a message that finds no room should come again.

        Each call is one message further back in an imagined queue that moves as fast as the lane.
        """
        rate = self.controller.rate
        speed = rate.measured(now) or rate.current() or UNKNOWN_SPEED
        opens = now + self.controller.closed_for(now)
        self._requeue_until = max(self._requeue_until, opens, now + 1.0) + 1.0 / speed
        if self._requeue_until - now > longest:
            self._requeue_until = now + longest
        return self._requeue_until - now
