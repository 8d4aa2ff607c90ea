"""What a batch leads to, gathered first and then made true together.

The order of `Committer.commit` is what makes a redelivered batch harmless: everything in it can be
done twice (suppressions and strikes are upserts, events and messages carry ids derived from their
cause), and the deliveries are acknowledged only when all of it is safe.
"""

from collections import Counter as Counts
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter

from postroad_bounce_processor import metrics
from postroad_bounce_processor.suppression import DAY, SOFT_LIFE, is_persistent
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.broker.publisher import Publisher
from postroad_common.broker.topology import OUTBOUND
from postroad_common.mail.address import domain_of
from postroad_common.schemas.events import Event
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.store.database import Database
from postroad_common.store.messages import Criteria
from postroad_common.store.reports import UnmatchedReport
from postroad_common.store.strikes import Strike
from postroad_common.store.suppressions import Suppression

MAX_REASON = 300

_log = structlog.get_logger("bounce-processor")


@dataclass(frozen=True, slots=True)
class SoftBounce:
    """A passing illness of a mailbox; `message` is the message that met it."""

    account: str
    address: str
    message: str
    reason: str
    time: float


@dataclass
class Effects:
    """The consequences of one batch."""

    events: list[Event] = field(default_factory=list)
    suppressions: list[Suppression] = field(default_factory=list)
    soft: list[SoftBounce] = field(default_factory=list)
    outbound: list[tuple[OutboundMessage, bytes]] = field(default_factory=list)
    unmatched: list[UnmatchedReport] = field(default_factory=list)
    counts: Counts[tuple[Counter, *tuple[str, ...]]] = field(default_factory=Counts)
    """Metrics to raise when all this is true, each with the values of its labels."""

    def count(self, metric: Counter, *labels: str) -> None:
        """Raise a metric by one when all this is true."""
        self.counts[metric, *labels] += 1

    def suppress(
        self,
        kind: str,
        *,
        account: str,
        address: str,
        message: str,
        reason: str,
        time: float,
        life: float | None,
    ) -> None:
        """Put an address on the list for `life` seconds, or for good (None)."""
        self.suppressions.append(
            Suppression(
                account=account,
                address=address,
                reason=reason[:MAX_REASON],
                kind=kind,
                created=time,
                expires=None if life is None else time + life,
                message=message,
            )
        )
        self.count(metrics.SUPPRESSED, kind)


class EffectCommitter:
    """Makes effects true."""

    def __init__(self, database: Database, events: EventWriter, publisher: Publisher) -> None:
        self._database = database
        self._events = events
        self._publisher = publisher

    async def commit(self, effects: Effects) -> None:
        """Return when all effects are safe.

        Raises:
            StoreAway, BrokerAway: some may not be; do it again.
        """
        suppressions = effects.suppressions + await self._judge(effects.soft)
        await self._database.suppressions.add(suppressions)
        await self._database.feedback_reports.add(effects.unmatched)
        await self._publisher.publish_many(
            (OUTBOUND.name, domain_of(message.recipients[0].address), encode(message, body))
            for message, body in effects.outbound
        )
        await self._events.write(effects.events)
        for (metric, *labels), number in effects.counts.items():
            (metric.labels(*labels) if labels else metric).inc(number)

    async def _judge(self, soft: list[SoftBounce]) -> list[Suppression]:
        """Note soft bounces; return suppressions for the addresses that stay ill."""
        days = await self._database.strikes.add(
            Strike(bounce.account, bounce.address, bounce.time) for bounce in soft
        )
        found: list[Suppression] = []
        for bounce in soft:
            known = days.get((bounce.account, bounce.address.lower()), frozenset())
            if not is_persistent(known, bounce.time):
                continue
            if await self._works(bounce, min(known) * DAY):
                await self._database.strikes.clear(bounce.account, bounce.address)
                continue
            found.append(
                Suppression(
                    account=bounce.account,
                    address=bounce.address,
                    reason=f"{len(known)} days with soft bounces, last: {bounce.reason}"[
                        :MAX_REASON
                    ],
                    kind="soft",
                    created=bounce.time,
                    expires=bounce.time + SOFT_LIFE,
                    message=bounce.message,
                )
            )
            metrics.SUPPRESSED.labels("soft").inc()
            _log.info("address stays ill, suppressed", id=bounce.message, days=len(known))
        return found

    async def _works(self, bounce: SoftBounce, since: float) -> bool:
        """Whether the address took another message since its first soft bounce."""
        wanted = Criteria(recipient=bounce.address, state="delivered", start=since)
        delivered = await self._database.messages.search(bounce.account, wanted, limit=2)
        return any(record.id != bounce.message for record in delivered)
