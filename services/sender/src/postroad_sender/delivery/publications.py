"""The messages that leave the sender for a queue: deferrals and requeues, reports of failures."""

from typing import Any

from postroad_common.broker import Publication, topology
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundRecipient
from postroad_common.schemas.returns import DeliveryFailure
from postroad_common.schemas.returns import Outcome as FailureKind
from postroad_sender.delivery.facts import REPLY_LIMIT, AttemptFacts
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.schedule import tier_for

_TIERS = tuple(tier.seconds for tier in topology.RETRY_TIERS)
_TIER_NAMES = {tier.seconds: tier.name for tier in topology.RETRY_TIERS}


def to_tier(job: Job, later: float | None, now: float, reason: str, **changes: Any) -> Publication:
    """Return the copy of `job` that waits in a retry tier until about `later` (Unix seconds).

    This is how a deferred message comes back: when its time in the tier's queue is over, the broker
    dead-letters it to the outbound exchange, which routes it by its domain to the shard again.
    """
    changes |= {"reason": reason[:REPLY_LIMIT], "not_before": later, "hop": job.message.hop + 1}
    message = job.message.model_copy(update=changes)
    name = _TIER_NAMES[tier_for((later or now) - now, _TIERS)]
    return Publication(name, job.domain, encode(message, job.body))


def to_next_tier(job: Job, seconds: float) -> Publication:
    """Return the copy of `job`, unchanged, that waits `seconds` more in a tier."""
    name = _TIER_NAMES[tier_for(seconds, _TIERS)]
    message = job.message.model_copy(update={"hop": job.message.hop + 1})
    return Publication(name, job.domain, encode(message, job.body))


def to_shard(job: Job, shard: str) -> Publication:
    """Return the copy of `job` for the queue of `shard`."""
    message = job.message.model_copy(update={"hop": job.message.hop + 1})
    return Publication("", shard, encode(message, job.body))


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
