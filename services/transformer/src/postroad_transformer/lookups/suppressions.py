"""Which recipients are suppressed, asked for a whole batch at once."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from postroad_common.errors import StoreAway
from postroad_common.store.suppressions import Addressed, Suppression, Suppressions
from postroad_transformer import metrics
from postroad_transformer.lookups import PAUSE, QUERY_TIMEOUT
from postroad_transformer.lookups.snapshot import SuppressionSnapshot

_log = structlog.get_logger("lookups")

_MAX_MAILS = 1_000  # per query


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of mails: those `suppressed`, with the strongest reason, and those in `doubt`.

    The latter may be suppressed, and the database that knows is away.
    """

    suppressed: Mapping[Addressed, Suppression] = field(default_factory=dict)
    doubt: frozenset[Addressed] = frozenset()


class SuppressionCheck:
    """Asks for the addresses of a whole batch at once."""

    def __init__(self, suppressions: Suppressions, snapshot: SuppressionSnapshot) -> None:
        self._suppressions = suppressions
        self._snapshot = snapshot
        self._paused_until = 0.0

    async def find_many(self, mails: Iterable[Addressed]) -> Findings:
        """Return what is known of the mails, by the database or without it."""
        now = asyncio.get_running_loop().time()
        asked = list(dict.fromkeys(mails))
        if now < self._paused_until:
            return self._by_snapshot(asked)
        found: dict[Addressed, Suppression] = {}
        try:
            for at in range(0, len(asked), _MAX_MAILS):
                async with asyncio.timeout(QUERY_TIMEOUT):
                    found |= await self._suppressions.find_many(asked[at : at + _MAX_MAILS])
        except (StoreAway, TimeoutError) as error:
            self._paused_until = asyncio.get_running_loop().time() + PAUSE
            _log.warning("suppressions not checked", error=str(error), addresses=len(asked))
            return self._by_snapshot(asked)
        return Findings(found)

    def _by_snapshot(self, asked: list[Addressed]) -> Findings:
        doubt = frozenset(mail for mail in asked if self._snapshot.may_be_suppressed(mail))
        metrics.SKIPPED.labels("suppressions").inc(len(asked))
        metrics.DOUBTED.inc(len(doubt))
        return Findings(doubt=doubt)
