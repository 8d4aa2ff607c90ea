"""The messages that leave the sender for a queue: deferrals and requeues, reports of failures."""

from typing import Any

from postroad_common.broker import Publication, topology
from postroad_common.mail.address import domain_of
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundRecipient
from postroad_common.schemas.returns import DeliveryFailure
from postroad_common.schemas.returns import Outcome as FailureKind
from postroad_sender.delivery.facts import REPLY_LIMIT, AttemptFacts
from postroad_sender.delivery.job import Job

_TIER_NAMES = {tier.seconds: tier.name for tier in topology.RETRY_TIERS}


def to_tier(job: Job, later: float | None, tier: int, reason: str, **changes: Any) -> Publication:
    """Return the copy of `job` that waits until about `later` (Unix seconds), first in `tier`.

    This is how a deferred message comes back: when its time in the tier's queue is over, the broker
    dead-letters it to the outbound exchange, which routes it by its domain to the shard again.
    """
    changes |= {"reason": reason[:REPLY_LIMIT], "not_before": later, "hop": job.message.hop + 1}
    message = job.message.model_copy(update=changes)
    return Publication(_TIER_NAMES[tier], job.domain, encode(message, job.body))


def to_next_tier(job: Job, tier: int) -> Publication:
    """Return the copy of `job`, unchanged, that waits in `tier`."""
    message = job.message.model_copy(update={"hop": job.message.hop + 1})
    return Publication(_TIER_NAMES[tier], job.domain, encode(message, job.body))


def to_shard(job: Job, shard: str) -> Publication:
    """Return the copy of `job` for the queue of `shard`."""
    message = job.message.model_copy(update={"hop": job.message.hop + 1})
    return Publication("", shard, encode(message, job.body))


def to_queue_again(job: Job, recipients: tuple[OutboundRecipient, ...]) -> Publication:
    """Return the copy of `job` for some of its recipients that begins anew, by the exchange."""
    changes = {"recipients": recipients, "hop": job.message.hop + 1}
    message = job.message.model_copy(update=changes)
    domain = domain_of(recipients[0].address)
    return Publication(topology.OUTBOUND.name, domain, encode(message, job.body))


def failure(
    job: Job,
    recipient: OutboundRecipient,
    kind: FailureKind,
    facts: AttemptFacts,
    *,
    now: float,
    later: float | None = None,
) -> Publication:
    """Return the report for the bounce-processor, which writes the DSN."""
    message = job.message
    report = DeliveryFailure(
        id=new_id(now),
        outbound=message.model_copy(update={"recipients": (recipient,)}),
        outcome=kind,
        reply=facts.reply,
        code=facts.code,
        enhanced=facts.enhanced,
        host=facts.host,
        stage=facts.stage,
        time=now,
        attempts=message.attempt + 1,
        next_attempt=later,
    )
    return Publication("", topology.FAILURES.name, encode(report, _quoted(job)))


def _quoted(job: Job) -> bytes | memoryview:
    """Return what a DSN may quote: all of the message if asked for and at hand, or its header."""
    if job.message.body is not None or job.message.ret == "full":
        return job.body  # of a message with a stored body this is the header block
    head, found, _ = bytes(job.body).partition(b"\r\n\r\n")
    return head + found
