"""How jobs end: what is told of them, and what is put on which queue if something is left to do.

That it is safe before the job is acknowledged, and so never lost, is the business of `commit`.

A delivered message costs one line in the journal and one event. Everything else takes the slower
road: failures go to the bounce-processor, deferrals to a waiting room with their reason.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from postroad_common.broker import EventWriter, Publication, Publisher, topology
from postroad_common.broker.eventwriter import EventsFull
from postroad_common.errors import BrokerAway
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.reply import Reply
from postroad_common.schemas.events import Event, EventName, attempted, happened
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.schemas.returns import DeliveryFailure
from postroad_common.schemas.returns import Outcome as FailureKind
from postroad_sender import metrics
from postroad_sender.delivery.commit import Committer, PendingCommit
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.journal import Journal
from postroad_sender.delivery.outcome import Outcome, Status, expired
from postroad_sender.delivery.schedule import RetrySchedule, tier_for
from postroad_sender.throttle.signals import Signal
from postroad_smtp.client.session import Session
from postroad_smtp.client.stage import Stage

DELAY_TOLD_AFTER = 4 * 3600.0  # seconds, for the DSN that says "delayed"
_TIERS = tuple(tier.seconds for tier in topology.RETRY_TIERS)
_TIER_NAMES = {tier.seconds: tier.name for tier in topology.RETRY_TIERS}
_PAUSE = 1.0  # seconds between tries while the broker is away
_REPLY_LIMIT = 1000  # characters of a reply that are kept
_QUICK = frozenset({Signal.RATE, Signal.CONNECTIONS})

_log = structlog.get_logger("endings")


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
        self._ended = ended
        self._clock = clock
        self._delivered = metrics.OUTCOMES.labels(Status.DELIVERED)

    def finish(self, job: Job, outcomes: Sequence[Outcome], session: Session | None) -> None:
        """An attempt is over; one outcome for each recipient. Returns at once."""
        now = self._clock()
        message = job.message
        if len(outcomes) == 1 and outcomes[0].status is Status.DELIVERED:
            recipient = message.recipients[0]
            if "success" not in recipient.notify:
                facts = _facts(outcomes[0], session)
                self._journal.delivered(recipient.id, facts)
                self._delivered.inc()
                facts = facts | _conversation(outcomes[0], session, 0)
                event = attempted(EventName.DELIVERED, message, recipient.id, now, facts)
                try:
                    told = self._events.add(event)
                except EventsFull:
                    self._committer.commit(PendingCommit(job, [event], []))
                    return
                told.add_done_callback(lambda _: self._committer.acknowledge(job))
                return
        events, publications = self._consequences(job, outcomes, session, now)
        self._committer.commit(PendingCommit(job, events, publications))

    def repeat(self, job: Job, recipient: OutboundRecipient, facts: dict[str, Any]) -> Event:
        """The event of a delivery that was made before and may not have been told."""
        name = EventName.DELIVERED
        return attempted(name, job.message, recipient.id, self._clock(), facts)

    def report(self, job: Job, events: list[Event]) -> None:
        """Nothing is left to do but to tell."""
        self._committer.commit(PendingCommit(job, events, []))

    def requeue(
        self, job: Job, seconds: float, reason: str, label: str, queue: str | None = None
    ) -> None:
        """No attempt was made: the message comes again after about `seconds`.

        Or it waits in `queue`, where its lane keeps its backlog, until it is taken from there.
        """
        now = self._clock()
        message = job.message
        if message.expires <= now:
            self.finish(job, [expired(reason)] * len(message.recipients), None)
            return
        metrics.REQUEUED.labels(label).inc()
        later = now + min(seconds, max(0.0, message.expires - now))
        events: list[Event] = []
        if message.reason is None or message.reason.partition(":")[0] != reason.partition(":")[0]:
            events = (
                [
                    _waiting(message, recipient, now, later, reason)
                    for recipient in message.recipients
                ]
                if label == "closed"
                else []
            )
        publications: list[Publication] = []
        told = message.delayed_sent
        if not told and now - message.received >= DELAY_TOLD_AFTER:
            told = True
            outcome = Outcome(Status.DEFERRED, Stage.ROUTE, Reply(451, "4.4.1", reason), local=True)
            facts = _facts(outcome, None)
            publications = [
                self._failure(job, recipient, outcome, "delayed", facts, now=now, later=later)
                for recipient in message.recipients
            ]
        changes: dict[str, Any] = {"reason": reason, "delayed_sent": told}
        again = self._again(job, later, now, **changes)
        if queue is None:
            self._committer.commit(PendingCommit(job, events, [*publications, again]))
            return
        ends = message.expires
        if not told:
            ends = min(ends, message.received + DELAY_TOLD_AFTER)
        mine = self._again(job, None, now, **changes)
        kept = Publication("", queue, mine.body, expires=max(1.0, ends - now))
        self._committer.commit(PendingCommit(job, events, [*publications, kept], instead=again))

    def requeue_early(self, job: Job, seconds: float) -> None:
        """It came out of its waiting room too early: into the next one."""
        name = _TIER_NAMES[tier_for(seconds, _TIERS)]
        message = job.message.model_copy(update={"hop": job.message.hop + 1})
        waits = Publication(name, job.domain, encode(message, job.body))
        self._committer.commit(PendingCommit(job, [], [waits]))

    def reroute(self, job: Job, shard: str) -> None:
        """It belongs to a site whose mail another shard carries: to that one, as it is."""
        message = job.message.model_copy(update={"hop": job.message.hop + 1})
        metrics.REROUTED.inc()
        self._ended(job)  # it may be back before its departure is confirmed
        moved = Publication("", shard, encode(message, job.body))
        self._committer.commit(PendingCommit(job, [], [moved]))

    def nack(self, job: Job) -> None:
        """Not begun: the broker brings it again, here or to whoever owns its shard next."""
        job.nack()
        self._ended(job)

    def split(self, job: Job, parts: Sequence[OutboundMessage], keys: Sequence[str]) -> None:
        """Its recipients belong to several destinations: each goes to its own."""
        publications = [
            Publication(topology.OUTBOUND.name, key, encode(part, job.body))
            for part, key in zip(parts, keys, strict=True)
        ]
        self._committer.commit(PendingCommit(job, [], publications))

    async def dead_letter(self, job: Job, reason: str) -> None:
        """Nothing can be done with it: to the dead-letter queue."""
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

    def _consequences(
        self, job: Job, outcomes: Sequence[Outcome], session: Session | None, now: float
    ) -> tuple[list[Event], list[Publication]]:
        message = job.message
        events: list[Event] = []
        publications: list[Publication] = []
        deferred: list[tuple[OutboundRecipient, Outcome, dict[str, Any]]] = []
        pairs = zip(message.recipients, outcomes, strict=True)
        for number, (recipient, outcome) in enumerate(pairs):
            metrics.OUTCOMES.labels(outcome.status).inc()
            facts = _facts(outcome, session)
            said = _conversation(outcome, session, number)
            match outcome.status:
                case Status.DELIVERED:
                    self._journal.delivered(recipient.id, facts)
                    events.append(
                        attempted(EventName.DELIVERED, message, recipient.id, now, facts | said)
                    )
                    if "success" in recipient.notify and not (
                        session is not None and session.capabilities.dsn
                    ):
                        publications.append(
                            self._failure(job, recipient, outcome, "relayed", facts, now=now)
                        )
                case Status.FAILED:
                    over = outcome.reply.enhanced == "5.4.7" and outcome.local
                    if over:
                        facts["expired"] = True
                    events.append(
                        attempted(EventName.FAILED, message, recipient.id, now, facts | said)
                    )
                    kind: FailureKind = "expired" if over else "failed"
                    publications.append(
                        self._failure(job, recipient, outcome, kind, facts, now=now)
                    )
                case Status.DEFERRED:
                    deferred.append((recipient, outcome, said))
        if deferred:
            self._defer(job, deferred, session, now=now, events=events, publications=publications)
        return events, publications

    def _defer(
        self,
        job: Job,
        deferred: list[tuple[OutboundRecipient, Outcome, dict[str, Any]]],
        session: Session | None,
        *,
        now: float,
        events: list[Event],
        publications: list[Publication],
    ) -> None:
        """Put the recipients in `deferred` back together, for the latest of their times."""
        message = job.message
        seconds = max(
            self._schedule.delay(
                message.attempt, stated=outcome.delay, quick=outcome.signal in _QUICK
            )
            for _, outcome, _ in deferred
        )
        later = min(now + seconds, max(now, message.expires))
        tell_delay = not message.delayed_sent and now - message.received >= DELAY_TOLD_AFTER
        for recipient, outcome, said in deferred:
            facts = _facts(outcome, session) | {"next": round(later, 3)}
            facts["reason"] = outcome.signal.value
            events.append(attempted(EventName.DEFERRED, message, recipient.id, now, facts | said))
            if tell_delay:
                publications.append(
                    self._failure(job, recipient, outcome, "delayed", facts, now=now, later=later)
                )
        changes: dict[str, Any] = {
            "attempt": message.attempt + 1,
            "recipients": tuple(recipient for recipient, _, _ in deferred),
            "first_attempt": message.first_attempt or now,
            "delayed_sent": message.delayed_sent or tell_delay,
        }
        reason = str(deferred[0][1].reply)
        publications.append(self._again(job, later, now, reason=reason, **changes))

    def _again(self, job: Job, later: float | None, now: float, **changes: Any) -> Publication:
        changes["reason"] = changes["reason"][:_REPLY_LIMIT]
        changes |= {"not_before": later, "hop": job.message.hop + 1}
        message = job.message.model_copy(update=changes)
        name = _TIER_NAMES[tier_for((later or now) - now, _TIERS)]
        return Publication(name, job.domain, encode(message, job.body))

    def _failure(
        self,
        job: Job,
        recipient: OutboundRecipient,
        outcome: Outcome,
        kind: FailureKind,
        facts: dict[str, Any],
        *,
        now: float,
        later: float | None = None,
    ) -> Publication:
        message = job.message
        failure = DeliveryFailure(
            id=new_id(now),
            outbound=message.model_copy(update={"recipients": (recipient,)}),
            outcome=kind,
            reply=facts["reply"],
            code=outcome.reply.code,
            enhanced=outcome.reply.enhanced,
            host=facts.get("host", ""),
            stage=outcome.stage,
            time=now,
            attempts=message.attempt + 1,
            next_attempt=later,
        )
        return Publication("", topology.FAILURES.name, encode(failure, _quoted(job)))


def _facts(outcome: Outcome, session: Session | None) -> dict[str, Any]:
    """What an event says about an attempt."""
    facts: dict[str, Any] = {
        "reply": str(outcome.reply)[:_REPLY_LIMIT],
        "code": outcome.reply.code,
        "stage": outcome.stage.value,
    }
    if outcome.reply.enhanced:
        facts["enhanced"] = outcome.reply.enhanced
    if session is not None:
        facts["host"] = session.host
        facts["ip"] = session.address
        if session.protection:
            facts["tls"] = session.protection
    policy = outcome.policy if session is None else session.policy
    if policy is not None:
        facts["tls_policy"] = policy
    if outcome.local:
        facts["local"] = True
    if not outcome.certain:
        facts["uncertain"] = True
    return facts


def _conversation(outcome: Outcome, session: Session | None, number: int) -> dict[str, Any]:
    """What was said about recipient `number`; only in the event: it is long."""
    said = outcome.said if session is None else session.told(number)
    return {"conversation": said} if said else {}


def _waiting(
    message: OutboundMessage, recipient: OutboundRecipient, now: float, later: float, reason: str
) -> Event:
    data = {
        "attempt": message.attempt,
        "reason": reason[:_REPLY_LIMIT],
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


def _quoted(job: Job) -> bytes | memoryview:
    """What a DSN may return of the message: all of it if asked for and at hand, else its header."""
    if job.message.body is not None:
        return job.body  # the header block
    if job.message.ret == "full":
        return job.body
    head, found, _ = bytes(job.body).partition(b"\r\n\r\n")
    return head + found
