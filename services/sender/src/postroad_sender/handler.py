"""Reads messages from the shards and decides how each begins: at once, later, or not again.

What was delivered before is recognised (by the journal), what is under way is not begun twice,
what is too early waits on, what is too late fails.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import cache

from prometheus_client import Histogram

from postroad_common.broker import Delivery, topology
from postroad_common.mail.address import domain_of
from postroad_common.mail.requeue import RequeueReason
from postroad_common.metrics import QUEUE_AGE
from postroad_common.schemas.framing import FrameError, decode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_sender import metrics
from postroad_sender.delivery.directed import DirectedMessages
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.journal import Journal
from postroad_sender.delivery.outcome import expired
from postroad_sender.delivery.simulator import Simulator
from postroad_sender.delivery.under_way import JobsUnderWay
from postroad_sender.lanes.dispatch import LaneDispatcher
from postroad_sender.lanes.ownership import PROBE

SOON = 1.0  # seconds; shorter waits are not worth another stay in a retry tier
_UNKNOWN = "the database is away: whether the message was cancelled is not known"
_SHARDS = frozenset(queue.name for queue in topology.SHARD_QUEUES)
_TIERS = frozenset(tier.name for tier in topology.RETRY_TIERS)


@cache
def _age_of(queue: str) -> Histogram:
    """Return the metric of the queue that brought a message."""
    return QUEUE_AGE.labels(queue)


for _queue in (*sorted(_TIERS), topology.BACKLOGS):
    _age_of(_queue)  # its series is there from the start


def _waited_in(delivery: Delivery, shard: Shard) -> str:
    """Return the queue that a message came from: a retry tier counts, not the shard behind it."""
    if shard.home is not None:
        return topology.BACKLOGS
    tier = delivery.headers.get("x-first-death-queue")
    return tier if tier in _TIERS else shard.name


class Handler:
    """One per process; `for_shard` gives what consumes one shard."""

    def __init__(
        self,
        under_way: JobsUnderWay,
        journal: Journal,
        disposition: Disposition,
        dispatcher: LaneDispatcher,
        *,
        directed: DirectedMessages,
        simulator: Simulator,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._under_way = under_way
        self._journal = journal
        self._disposition = disposition
        self._dispatcher = dispatcher
        self._directed = directed
        self._simulator = simulator
        self._clock = clock
        self._timers: dict[Job, asyncio.TimerHandle] = {}
        self.draining = False

    def for_shard(self, shard: Shard) -> Callable[[list[Delivery]], Awaitable[None]]:
        """Return the handler of one shard's deliveries; they end later."""

        async def handle(deliveries: list[Delivery]) -> None:
            shard.taken += len(deliveries)
            for delivery in deliveries:
                if self.draining or shard.leaving:
                    leaving = RequeueReason.DRAIN if self.draining else RequeueReason.SHARD_MOVED
                    metrics.REQUEUED.labels(leaving).inc()
                    delivery.leave(leaving)
                    continue
                if PROBE in delivery.headers:
                    delivery.ack()  # it has told the consumer that it is the active one
                    continue
                try:
                    message, body = decode(OutboundMessage, delivery.body)
                except FrameError as error:
                    await delivery.dead(str(error))
                    continue
                if not message.recipients:
                    await delivery.dead("a message without recipients")
                    continue
                shard.brought = message.began
                self._begin(message, body, delivery, shard)

        return handle

    def take_timed(self, shard: Shard | None = None) -> list[Job]:
        """Hand over the jobs (of one shard) that wait here until they are due."""
        jobs = [job for job in self._timers if shard is None or job.shard is shard]
        for job in jobs:
            self._timers.pop(job).cancel()
        return jobs

    async def finished(self) -> None:
        """Wait until what was begun without a lane has its outcome."""
        await self._simulator.finished()

    def withdraw(self) -> None:
        """End what is cancelled and waits in this process.

        Of a message whose attempt is under way, that decides: what is left then is not begun again.
        """

        def is_cancelled(job: Job) -> bool:
            return bool(self._directed.cancels(job.message))

        if not any(map(is_cancelled, self._under_way)):
            return
        jobs = [job for job in self._timers if is_cancelled(job)]
        for job in jobs:
            self._timers.pop(job).cancel()
        for job in jobs + self._dispatcher.withdraw(is_cancelled):
            self._disposition.cancel(job, self._directed.cancels(job.message))

    def _begin(
        self, message: OutboundMessage, body: memoryview, delivery: Delivery, shard: Shard
    ) -> None:
        job = Job(message, body, domain_of(message.recipients[0].address), shard, [delivery])
        job.is_at_home = delivery.routing_key in _SHARDS
        if self._journal.was_handed_on(job.key):
            metrics.RECOGNISED.labels("handed on").inc()
            delivery.ack()
            return
        twin = self._under_way.twin_of(job)
        if twin is not None:
            self._join_twin(twin, job)
            return
        self._under_way.add(job)
        try:
            self._begin_new(job, delivery)
        except Exception:
            self._under_way.forget(job)  # it comes again, and must not meet itself
            raise

    def _begin_new(self, job: Job, delivery: Delivery) -> None:
        message = job.message
        self._recognise(job)
        if not job.message.recipients:
            self._disposition.report(job)
            return
        if self._directed.may_be_cancelled(job.message):
            seconds = self._directed.unknown_seconds
            self._disposition.requeue(job, seconds, RequeueReason.DEPENDENCY_AWAY, _UNKNOWN)
            return
        if self._directed and (cancels := self._directed.cancels(job.message)):
            self._disposition.cancel(job, cancels)
            return
        if self._split(job):
            return
        now = self._clock()
        _age_of(_waited_in(delivery, job.shard)).observe(
            max(0.0, now - max(message.began, message.not_before or 0.0))
        )
        if message.expires <= now:
            outcome = expired(message.reason or "")
            self._disposition.finish(job, [outcome] * len(job.message.recipients))
            return
        left = 0.0 if message.not_before is None else message.not_before - now
        if left <= 0.0 or (self._directed and self._directed.is_to_be_tried(message)):
            self._place(job)
        elif left <= SOON:
            loop = asyncio.get_running_loop()
            self._timers[job] = loop.call_later(left, self._due, job)
        else:
            self._disposition.requeue_early(job, left, RequeueReason.NOT_DUE)

    def _join_twin(self, twin: Job, job: Job) -> None:
        """Another copy of a message that is under way."""
        if twin.message.hop == job.message.hop:
            metrics.RECOGNISED.labels("under way").inc()
            twin.deliveries += job.deliveries  # all end together
        else:
            # Copies of different hops exist when the broker brings again what was handed on. The
            # one under way decides what is left to do for the other.
            self._disposition.requeue_early(job, SOON, RequeueReason.TWIN_UNDER_WAY)

    def _due(self, job: Job) -> None:
        del self._timers[job]
        self._place(job)

    def _place(self, job: Job) -> None:
        if self._simulator.concerns(job):
            self._simulator.deliver(job)
        else:
            self._dispatcher.place(job)

    def _recognise(self, job: Job) -> None:
        """Take out of `job` who has the message already, and let it tell of them again."""
        message = job.message
        known = {
            recipient.id: entry
            for recipient in message.recipients
            if (entry := self._journal.find(recipient.id)) is not None
        }
        if not known:
            return
        metrics.RECOGNISED.labels("delivered").inc(len(known))
        for recipient in message.recipients:
            if recipient.id in known:
                self._disposition.repeat(job, recipient, known[recipient.id])
        left = tuple(recipient for recipient in message.recipients if recipient.id not in known)
        job.message = message.model_copy(update={"recipients": left})

    def _split(self, job: Job) -> bool:
        """Recipients of other domains go to lanes of their own. Whether that was needed."""
        recipients = job.message.recipients
        if len(recipients) == 1:
            return False
        domains: dict[str, list[int]] = {}
        for number, recipient in enumerate(recipients):
            domains.setdefault(domain_of(recipient.address), []).append(number)
        if len(domains) == 1:
            return False
        parts = [
            job.message.model_copy(
                update={
                    "id": f"{job.message.id}-{number}",
                    "recipients": tuple(recipients[index] for index in indexes),
                }
            )
            for number, indexes in enumerate(domains.values())
        ]
        self._disposition.split(job, parts, list(domains))
        return True
