"""Takes submissions from the queue and leaves outbound messages: the life of a batch.

Per batch one query for suppressions and one for unknown sender domains; per submission one
template; per recipient one frame, published and confirmed. Then the facts are told and the content
goes to the archive, confirmed too, and only then is the submission acknowledged. Content that
cannot be changed goes out as it came; only a submission that is no submission is set aside.
Heavy mail, whose HTML takes long, is transformed beside the batches.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from postroad_common.broker.delivery import Delivery
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.broker.handling import FAILURES_ALLOWED
from postroad_common.broker.publisher import Publisher
from postroad_common.broker.suspects import REDELIVERIES
from postroad_common.broker.topology import FAILURES
from postroad_common.errors import StoreAway, Transient
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas import events
from postroad_common.schemas.framing import FrameError, decode
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.bodies import Bodies, BodyGone
from postroad_common.store.suppressions import Addressed, Suppression
from postroad_common.tasks import BackgroundTasks
from postroad_transformer import metrics
from postroad_transformer.archive import ArchiveWriter, Entry
from postroad_transformer.budget import HeavyError
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.outbound import wants_bounce_address
from postroad_transformer.composing.template import Template
from postroad_transformer.lookups import Pair
from postroad_transformer.lookups.images import ImageStore
from postroad_transformer.lookups.signing_keys import SigningKeys
from postroad_transformer.lookups.suppressions import SuppressionCheck
from postroad_transformer.publishing import Publications, PublishingPolicy, run_all
from postroad_transformer.reading.sender import list_of, peek_sender_domain
from postroad_transformer.refusals import refused
from postroad_transformer.signing.keys import SigningKey
from postroad_transformer.templates import TemplateMaker
from postroad_transformer.workers.pool import WorkerPool

IN_THREAD = 65_536  # octets of a body that is hashed beside the event loop
WAITS = 2  # how often heavy mail comes again from a machine that is too busy for it
MAX_HEADER = 65_536  # octets in which the From field is looked for

Signers = Mapping[Pair, Sequence[SigningKey]]

_log = structlog.get_logger("transformer")


@dataclass(slots=True)
class _Job:
    """One submission on its way through the handler."""

    delivery: Delivery
    submission: Submission
    body: memoryview | bytes
    list: str = ""  # what its recipients may have unsubscribed from
    sender: Pair | None = None  # account, and domain of the From address at a first look
    template: Template | None = None
    entry: Entry | None = None  # of the archive; None if its content is not kept


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the handler works with."""

    publisher: Publisher
    events: EventWriter
    bodies: Bodies
    keys: SigningKeys
    suppressions: SuppressionCheck
    images: ImageStore
    archive: ArchiveWriter
    workers: WorkerPool


class Transformer:
    """The handler of `transformer.accepted`."""

    def __init__(self, dependencies: Dependencies, policy: PublishingPolicy) -> None:
        self._needs = dependencies
        self._policy = policy
        self._templates = TemplateMaker(policy.rules, dependencies.images, dependencies.workers)
        self._heavy = BackgroundTasks("heavy mail")
        self._under_way: set[Delivery] = set()  # heavy, in this process already
        self._publications = Publications(
            dependencies.publisher, dependencies.bodies, dependencies.archive, policy
        )

    async def transform(self, deliveries: list[Delivery]) -> None:
        """Transform a batch of submissions and end each delivery: the second function of one mail.

        What is published here goes to the shards of the sender, whose function is `place`. Heavy
        mail ends later, so that it does not hold up the next batch.
        """
        jobs = [
            job
            for delivery in deliveries
            if delivery not in self._under_way and (job := await self._read(delivery))
        ]
        inline = [job for job in jobs if job.submission.body is None]
        stored = [job for job in jobs if job.submission.body is not None]
        await run_all([self._transform_read(inline), *map(self._fetch_and_transform, stored)])

    async def close(self) -> None:
        """Stop working on heavy mail; its submissions go back to the queue."""
        await self._heavy.close()

    async def _fetch_and_transform(self, job: _Job) -> None:
        """Apart from the rest, so that waiting for the store holds up nobody else."""
        if await self._fetch(job):
            await self._transform_read([job])

    async def _transform_read(self, jobs: Sequence[_Job]) -> None:
        offered = self._policy.rules.header.unsubscribe_url is not None
        for job in jobs:
            head = bytes(job.body[:MAX_HEADER])
            job.list = list_of(job.submission, head, offered=offered)
            domain = peek_sender_domain(head)
            job.sender = None if domain is None else (job.submission.account, domain)
        findings = await self._needs.suppressions.find_many(
            _addressed(job, recipient) for job in jobs for recipient in job.submission.recipients
        )
        suppressed = findings.suppressed
        if findings.doubt:
            jobs = await _without_doubt(jobs, findings.doubt)
        # Asked before, for the tracking hosts; the peek and the parser differ on odd headers only.
        signers = await self._needs.keys.find_many({job.sender for job in jobs if job.sender})
        light = [job for job in jobs if await self._make_template(job)]
        for job in jobs:
            if job.template is None:
                self._under_way.add(job.delivery)
                self._heavy.spawn(self._transform_heavy(job, suppressed, signers))
        await self._sign_and_send(light, suppressed, signers)

    async def _transform_heavy(
        self, job: _Job, suppressed: Mapping[Addressed, Suppression], signers: Signers
    ) -> None:
        """Transform what took too long for the event loop, and end its delivery."""
        delivery = job.delivery
        try:
            raw, job.body = bytes(job.body), b""
            # A busy machine is no reason to lose what the mail's login asks for, not at once.
            again = delivery.tries + delivery.redeliveries < WAITS
            host = self._host(job)
            job.template = await self._templates.make_heavy(raw, job.submission, host, again=again)
            if delivery.stale:
                delivery.leave(RequeueReason.CONNECTION_LOST)
            else:
                await self._sign_and_send([job], suppressed, signers)
        except Transient as error:
            await delivery.retry(RequeueReason.DEPENDENCY_AWAY, str(error))
        except Exception as error:  # noqa: BLE001 - one bad message must not stay for ever
            _log.exception("heavy mail failed", submission=job.submission.id)
            await _retry_or_bury(delivery, f"handler failed: {error!r}")
        finally:
            self._under_way.discard(delivery)

    async def _sign_and_send(
        self, jobs: Sequence[_Job], suppressed: Mapping[Addressed, Suppression], signers: Signers
    ) -> None:
        others = {pair for job in jobs if (pair := _signer(job)) and pair not in signers}
        if others:
            signers = {**signers, **await self._needs.keys.find_many(others)}
        await run_all(
            self._send(job, suppressed, signers.get(_signer(job) or ("", ""), ())) for job in jobs
        )

    async def _read(self, delivery: Delivery) -> _Job | None:
        try:
            submission, body = decode(Submission, delivery.body)
        except FrameError as error:
            await delivery.dead(str(error))
            return None
        began = max(submission.received, submission.send_at or 0.0)
        metrics.AGE.observe(max(0.0, time.time() - began))
        return _Job(delivery, submission, body)

    async def _fetch(self, job: _Job) -> bool:
        """Get the stored body; False if the delivery has ended, or waits for the store."""
        reference = job.submission.body
        assert reference is not None  # noqa: S101 - only those are asked for
        try:
            job.body = await self._needs.bodies.get(reference)
        except StoreAway as error:
            await job.delivery.retry(
                RequeueReason.BODY_UNAVAILABLE, f"its body cannot be fetched: {error}"
            )
        except BodyGone as error:
            await job.delivery.dead(str(error))
        else:
            return True
        return False

    async def _make_template(self, job: _Job) -> bool:
        """Make the template of a job; False if that is more than the event loop may do."""
        raw = bytes(job.body)
        job.entry = self._needs.archive.entry(job.submission, raw)
        # What came back again and again may have ended this process each time.
        if job.delivery.redeliveries >= REDELIVERIES:
            return False
        try:
            job.template = await self._templates.make_light(raw, job.submission, self._host(job))
        except HeavyError:
            return False
        job.body = b""
        return True

    def _host(self, job: _Job) -> str | None:
        return self._needs.keys.tracking_host(job.sender) if job.sender else None

    async def _send(
        self,
        job: _Job,
        suppressed: Mapping[Addressed, Suppression],
        keys: Sequence[SigningKey],
    ) -> None:
        """Publish the messages of one submission, tell the facts, acknowledge."""
        submission, template = job.submission, job.template
        assert template is not None  # noqa: S101 - made just before
        if not await self._prolong(job):
            return
        told: list[events.Event] = []
        wanted: list[Recipient] = []
        unwanted: list[tuple[Recipient, Suppression]] = []
        now = time.time()
        for recipient in submission.recipients:
            entry = suppressed.get(_addressed(job, recipient))
            if entry is None:
                wanted.append(recipient)
            else:
                unwanted.append((recipient, entry))
                told.append(
                    events.suppressed(submission, recipient, now, entry.reason, entry.created)
                )
        metrics.SUPPRESSED.inc(len(told))
        composer = await self._composer(template, keys, now)
        if unwanted and submission.envelope and not submission.test:
            frames = refused(submission, unwanted, composer, now)
            await self._needs.publisher.publish_many(
                [("", FAILURES.name, frame) for frame in frames]
            )
        if wanted:
            sender = _signer(job)
            host = self._needs.keys.return_path(sender) if sender else None
            try:
                await self._publications.publish(submission, composer, wanted, job.entry, host)
            except StoreAway as error:
                await job.delivery.retry(
                    RequeueReason.BODY_UNAVAILABLE, f"its body cannot be stored: {error}"
                )
                return
            changes = _changes(submission, template, keys)
            told += [events.transformed(submission, each, now, changes) for each in wanted]
            if submission.test:
                told += [events.tested(submission, each, time.time()) for each in wanted]
        work: list[Coroutine[Any, Any, None]] = [self._needs.events.write(told, urgent=False)]
        if job.entry is not None and job.entry.is_owed:
            work.append(self._needs.archive.keep(job.entry))
        await run_all(work)
        job.delivery.ack()
        (metrics.TESTED if submission.test else metrics.SENT).inc(len(wanted))
        self._publications.forget(submission.id)
        _log.debug("transformed", submission=submission.id, recipients=len(wanted))

    async def _prolong(self, job: _Job) -> bool:
        """Let a stored body live as long as its entry; False if it must wait for the store."""
        reference = job.submission.body
        if job.entry is None or reference is None:
            return True
        try:
            await self._needs.bodies.keep_until(reference, job.entry.expires)
        except StoreAway as error:
            await job.delivery.retry(
                RequeueReason.BODY_UNAVAILABLE, f"its body cannot be kept: {error}"
            )
            return False
        return True

    async def _composer(
        self, template: Template, keys: Sequence[SigningKey], now: float
    ) -> Composer:
        links = self._policy.links
        if template.body_size > IN_THREAD:  # it hashes the body
            return await asyncio.to_thread(Composer, template, links, keys, now)
        return Composer(template, links, keys, now)


async def _without_doubt(jobs: Sequence[_Job], doubt: frozenset[Addressed]) -> list[_Job]:
    """Return the jobs that go on; those with a recipient in `doubt` wait for the database."""
    clear = []
    for job in jobs:
        if any(_addressed(job, recipient) in doubt for recipient in job.submission.recipients):
            text = "a recipient may be suppressed, and the database is away"
            await job.delivery.retry(RequeueReason.DEPENDENCY_AWAY, text)
        else:
            clear.append(job)
    return clear


async def _retry_or_bury(delivery: Delivery, reason: str) -> None:
    if delivery.tries + 1 >= FAILURES_ALLOWED:
        with contextlib.suppress(Transient):
            await delivery.dead(reason)
            return
    await delivery.retry(RequeueReason.HANDLER_FAILED, reason)


def _addressed(job: _Job, recipient: Recipient) -> Addressed:
    return Addressed(job.submission.account, recipient.address.lower(), job.list)


def _signer(job: _Job) -> Pair | None:
    domain = job.template.sender_domain if job.template is not None else None
    return None if domain is None else (job.submission.account, domain)


def _changes(
    submission: Submission, template: Template, keys: Sequence[SigningKey]
) -> dict[str, Any]:
    """Return what the `transformed` event tells of the changes."""
    changes = dict(template.facts)
    if keys:
        changes["dkim"] = [f"{key.selector}._domainkey.{key.domain}" for key in keys]
    if wants_bounce_address(submission):
        changes["bounce_address"] = True
    if submission.send_at is not None:
        changes["not_before"] = submission.send_at
    return changes
