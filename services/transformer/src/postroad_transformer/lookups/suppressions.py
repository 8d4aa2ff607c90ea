"""Which recipients are suppressed, asked for a whole batch at once."""

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from postroad_common.errors import StoreAway
from postroad_common.store.suppressions import Addressed, Suppression, Suppressions
from postroad_transformer import metrics
from postroad_transformer.lookups import PAUSE, QUERY_TIMEOUT

_log = structlog.get_logger("lookups")

_MAX_MAILS = 1_000  # per query


class SuppressionCheck:
    """Asks for the addresses of a whole batch at once."""

    def __init__(self, suppressions: Suppressions) -> None:
        self._suppressions = suppressions
        self._paused_until = 0.0

    async def find_many(self, mails: Iterable[Addressed]) -> Mapping[Addressed, Suppression]:
        """Return those of the mails that are suppressed, with the strongest reason."""
        now = asyncio.get_running_loop().time()
        asked = list(dict.fromkeys(mails))
        if now < self._paused_until:
            metrics.SKIPPED.labels("suppressions").inc(len(asked))
            return {}
        found: dict[Addressed, Suppression] = {}
        try:
            for at in range(0, len(asked), _MAX_MAILS):
                async with asyncio.timeout(QUERY_TIMEOUT):
                    found |= await self._suppressions.find_many(asked[at : at + _MAX_MAILS])
        except (StoreAway, TimeoutError) as error:
            self._paused_until = now + PAUSE
            metrics.SKIPPED.labels("suppressions").inc(len(asked))
            _log.warning("suppressions not checked", error=str(error), addresses=len(asked))
        return found
