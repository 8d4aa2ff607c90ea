"""How jobs end: what is told of them, and what is put on which queue if something is left to do.

That it is safe before the job is acknowledged, and so never lost, is the business of `commit`.

A delivered message costs one line in the journal and one event. Everything else takes the slower
road: failures go to the bounce-processor, deferrals with their reason to a retry tier.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from postroad_common.broker import EventWriter, Publication, Publisher, topology
from postroad_common.broker.eventwriter import EventsFull
from postroad_common.errors import BrokerAway
from postroad_common.mail.reply import Reply
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.eventdata import OTHER_PROVIDER
from postroad_common.schemas.events import Event, EventName, attempted, cancelled, happened
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.schemas.returns import Outcome as FailureKind
from postroad_common.store.messagedirectives import MessageDirective
from postroad_sender import metrics
from postroad_sender.delivery.commit import Committer, PendingCommit
from postroad_sender.delivery.counts import count_delivered, count_outcome
from postroad_sender.delivery.facts import REPLY_LIMIT, AttemptFacts, conversation, facts_of
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.journal import Journal, JournalEntry
from postroad_sender.delivery.outcome import Outcome, Status, expired
from postroad_sender.delivery.publications import (
    failure,
    to_next_tier,
    to_queue_again,
    to_shard,
    to_tier,
)
from postroad_sender.delivery.schedule import RetrySchedule, Stays
from postroad_smtp.client.stage import Stage

DELAY_TOLD_AFTER = 4 * 3600.0  # seconds, for the DSN that says "delayed"
_TIERS = tuple(tier.seconds for tier in topology.RETRY_TIERS)
_PAUSE = 1.0  # seconds between tries while the broker is away
_SUSPENDED = frozenset(
    {
        RequeueReason.LANE_CLOSED,
        RequeueReason.PAUSED,
        RequeueReason.LIMIT_REACHED,
        RequeueReason.WARMUP,
    }
)

_log = structlog.get_logger("disposition")


class Disposition:
    """One per process. `ended` is called with each job that is over."""

    def __init__(
        self,
        publisher: Publisher,
        events: EventWriter,
        journal: Journal,
        *,
        schedule: RetrySchedule,
        ended: Callable[[Job], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._committer = Committer(publisher, events, journal, ended)
        self._events = events
        self._journal = journal
        self._schedule = schedule
        self._stays = Stays(_TIERS)
        self._ended = ended
        self._clock = clock

    def remember(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        """Note which recipients have the message already, while the attempt goes on for others."""
        for recipient, outcome in zip(job.message.recipients, outcomes, strict=True):
            if outcome.status is Status.DELIVERED:
                self._note_delivered(recipient, _facts(job, outcome), outcome)

    def finish(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        """End an attempt, with one outcome for each recipient. Returns at once."""
        now = self._clock()
        message = job.message
        if len(outcomes) == 1 and outcomes[0].status is Status.DELIVERED and not job.untold:
            recipient = message.recipients[0]
            if "success" not in recipient.notify:
                facts = _facts(job, outcomes[0])
                self._note_delivered(recipient, facts, outcomes[0])
                count_delivered(job, outcomes[0], now)
                data = facts.to_data() | conversation(outcomes[0])
                event = attempted(EventName.DELIVERED, message, recipient.id, now, data)
                try:
                    told = self._events.add(event)
                except EventsFull:
                    self._committer.commit(PendingCommit(job, [event], []))
                    return
                told.add_done_callback(lambda _: self._committer.acknowledge(job))
                return
        events, publications = self._consequences(job, outcomes, now)
        self._committer.commit(PendingCommit(job, events, publications))

    def simulate(
        self,
        job: Job,
        outcomes: Sequence[Outcome],
        returns: Sequence[Publication],
        visits: Sequence[Event],
    ) -> None:
        """End an attempt that the simulator made up; `returns` and `visits` are what follows.

        It is not counted, and no delivery is noted: if the broker brings the job again, all of it
        is told again, under the same ids.
        """
        events, publications = self._consequences(job, outcomes, self._clock())
        self._committer.commit(PendingCommit(job, [*events, *visits], [*publications, *returns]))

    def repeat(self, job: Job, recipient: OutboundRecipient, entry: JournalEntry) -> None:
        """Let `job` tell of a delivery that was made before and may not have been told.

        That is its event and, where it is due, the DSN; who is told twice recognises it.
        """
        facts, now = entry.facts, self._clock()
        name = EventName.DELIVERED
        job.untold.append(attempted(name, job.message, recipient.id, now, facts.to_data()))
        if entry.report_due:
            job.unreported.append(failure(job, recipient, "relayed", facts, now=now))

    def report(self, job: Job) -> None:
        """End a job of which nothing is left to do but to write what is untold of it."""
        self._committer.commit(PendingCommit(job, [], []))

    def requeue(
        self, job: Job, seconds: float, reason: RequeueReason, text: str, queue: str | None = None
    ) -> None:
        """Put `job` back without an attempt: it comes again after about `seconds`.

        With `queue`, where its lane keeps its backlog, it waits there until it is taken. `text`
        says more about `reason`, for people.
        """
        now = self._clock()
        message = job.message
        if message.expires <= now:
            self.finish(job, [expired(text)] * len(message.recipients))
            return
        _note_requeued(job, reason, reason=text, queue=queue)
        later = now + min(seconds, max(0.0, message.expires - now))
        events: list[Event] = []
        known = "" if message.reason is None else message.reason.partition(":")[0]
        if reason in _SUSPENDED and known != text.partition(":")[0]:
            events = [
                _waiting(job, one, now, later, reason=reason, text=text)
                for one in message.recipients
            ]
        publications: list[Publication] = []
        told = message.delayed_sent
        if not told and now - message.began >= DELAY_TOLD_AFTER:
            told = True
            outcome = Outcome(Status.DEFERRED, Stage.ROUTE, Reply(451, "4.4.1", text), local=True)
            facts = facts_of(outcome)
            publications = [
                failure(job, recipient, "delayed", facts, now=now, later=later)
                for recipient in message.recipients
            ]
        again = to_tier(job, later, self._stays.tier(later - now, now), text, delayed_sent=told)
        if queue is None:
            self._committer.commit(PendingCommit(job, events, [*publications, again]))
            return
        ends = message.expires
        if not told:
            ends = min(ends, message.began + DELAY_TOLD_AFTER)
        mine = to_tier(job, None, min(_TIERS), text, delayed_sent=told)
        kept = Publication("", queue, mine.body, expires=max(1.0, ends - now))
        self._committer.commit(PendingCommit(job, events, [*publications, kept], instead=again))

    def requeue_early(self, job: Job, seconds: float, reason: RequeueReason) -> None:
        """Requeue a job that came `seconds` too early, unchanged, to a retry tier."""
        _note_requeued(job, reason, seconds=round(seconds, 1))
        tier = self._stays.tier(seconds, self._clock())
        self._committer.commit(PendingCommit(job, [], [to_next_tier(job, tier)]))

    def reroute(self, job: Job, shard: str) -> None:
        """Pass `job` on, unchanged, to the shard that carries the mail of its site."""
        metrics.REROUTED.inc()
        _note_requeued(job, RequeueReason.SHARD_MOVED, shard=shard)
        self._ended(job)  # it may be back before its departure is confirmed
        self._committer.commit(PendingCommit(job, [], [to_shard(job, shard)]))

    def nack(self, job: Job, reason: RequeueReason) -> None:
        """Return `job`, not begun, to its queue; the broker brings it to the shard's next owner."""
        _note_requeued(job, reason, shard=job.shard.name)
        job.nack(reason)
        self._ended(job)

    def split(self, job: Job, parts: Sequence[OutboundMessage], keys: Sequence[str]) -> None:
        """Send each of `parts`, which have recipients of different domains, to its own shard."""
        publications = [
            Publication(topology.OUTBOUND.name, key, encode(part, job.body))
            for part, key in zip(parts, keys, strict=True)
        ]
        self._committer.commit(PendingCommit(job, [], publications))

    def cancel(self, job: Job, directives: Mapping[str, MessageDirective]) -> None:
        """End `job` for the recipients that are cancelled, by their ids; nobody is sent a DSN.

        If it has others, they go on: round by the queue, because the two must not be told apart.
        """
        message, now = job.message, self._clock()
        events = [
            cancelled(message, one.id, now, by=found.by, given=found.given)
            for one in message.recipients
            if (found := directives.get(one.id)) is not None
        ]
        left = tuple(one for one in message.recipients if one.id not in directives)
        publications = [to_queue_again(job, left)] if left else []
        self._committer.commit(PendingCommit(job, events, publications))

    async def dead_letter(self, job: Job, reason: str) -> None:
        """Move a job with which nothing can be done to the dead-letter queue."""
        for delivery in job.deliveries:
            while not delivery.ended and not delivery.stale:
                try:
                    await delivery.dead(reason)
                except BrokerAway:
                    await asyncio.sleep(_PAUSE)
        self._ended(job)

    async def committed(self) -> None:
        """Wait until everything that was begun is safe."""
        await self._committer.finished()

    # -- inside

    def _note_delivered(
        self, recipient: OutboundRecipient, facts: AttemptFacts, outcome: Outcome
    ) -> None:
        due = _must_report_relay(recipient, outcome)
        self._journal.delivered(recipient.id, JournalEntry(facts, due))

    def _consequences(
        self, job: Job, outcomes: Sequence[Outcome], now: float
    ) -> tuple[list[Event], list[Publication]]:
        message = job.message
        events: list[Event] = []
        publications: list[Publication] = []
        deferred: list[tuple[OutboundRecipient, Outcome, dict[str, Any]]] = []
        pairs = zip(message.recipients, outcomes, strict=True)
        for recipient, outcome in pairs:
            if not outcome.simulated:
                count_outcome(job, outcome, now)
            said = conversation(outcome)
            if outcome.status is Status.DEFERRED:
                deferred.append((recipient, outcome, said))
                continue
            over = outcome.reply.enhanced == "5.4.7" and outcome.local
            kind: FailureKind = "expired" if over else "failed"
            name = EventName.FAILED
            facts = _facts(job, outcome, expired=over)
            if outcome.status is Status.DELIVERED:
                name, kind = EventName.DELIVERED, "relayed"
                if not outcome.simulated:
                    self._note_delivered(recipient, facts, outcome)
            data = facts.to_data() | said
            events.append(attempted(name, message, recipient.id, now, data))
            if kind != "relayed" or _must_report_relay(recipient, outcome):
                publications.append(failure(job, recipient, kind, facts, now=now))
        if deferred:
            self._defer(job, deferred, now=now, events=events, publications=publications)
        return events, publications

    def _defer(
        self,
        job: Job,
        deferred: list[tuple[OutboundRecipient, Outcome, dict[str, Any]]],
        *,
        now: float,
        events: list[Event],
        publications: list[Publication],
    ) -> None:
        """Put the recipients in `deferred` back together, for the latest of their times."""
        message = job.message
        seconds = max(
            self._schedule.delay(
                message.attempt,
                stated=outcome.delay,
                quick=outcome.is_quick(message.attempt),
            )
            for _, outcome, _ in deferred
        )
        text = str(deferred[0][1].reply)
        _note_requeued(job, RequeueReason.DEFERRED, reason=text)
        later = min(now + seconds, max(now, message.expires))
        tell_delay = not message.delayed_sent and now - message.began >= DELAY_TOLD_AFTER
        for recipient, outcome, said in deferred:
            facts = _facts(
                job,
                outcome,
                next=round(later, 3),
                reason=outcome.classification.value,
                requeue=RequeueReason.DEFERRED.value,
            )
            data = facts.to_data() | said
            events.append(attempted(EventName.DEFERRED, message, recipient.id, now, data))
            if tell_delay:
                publications.append(failure(job, recipient, "delayed", facts, now=now, later=later))
        changes: dict[str, Any] = {
            "attempt": message.attempt + 1,
            "recipients": tuple(recipient for recipient, _, _ in deferred),
            "first_attempt": message.first_attempt or now,
            "delayed_sent": message.delayed_sent or tell_delay,
        }
        tier = self._stays.tier(later - now, now)
        publications.append(to_tier(job, later, tier, text, **changes))


def _note_requeued(job: Job, requeue: RequeueReason, **facts: object) -> None:
    metrics.REQUEUED.labels(requeue).inc()
    _log.debug("requeued", message=job.message.id, requeue=requeue, **facts)


def _must_report_relay(recipient: OutboundRecipient, outcome: Outcome) -> bool:
    """Whether a DSN "relayed" is due: it was asked for, and the next server cannot write one."""
    server = outcome.server
    return "success" in recipient.notify and not (server is not None and server.dsn)


def _facts(job: Job, outcome: Outcome, **more: Any) -> AttemptFacts:
    return facts_of(outcome, provider=job.provider or OTHER_PROVIDER, **more)


def _waiting(
    job: Job,
    recipient: OutboundRecipient,
    now: float,
    later: float,
    *,
    reason: RequeueReason,
    text: str,
) -> Event:
    message = job.message
    data = {
        "attempt": message.attempt,
        "reason": text[:REPLY_LIMIT],
        "requeue": reason.value,
        "provider": job.provider or OTHER_PROVIDER,
        "next": round(later, 3),
        "suspended": True,
    }
    return happened(
        EventName.DEFERRED,
        recipient.id,
        now,
        data,
        account=message.account,
        event_id=f"{recipient.id}.suspended.{message.attempt}",
    )
