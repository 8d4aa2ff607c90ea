"""Which recipients are suppressed, asked for a whole batch at once."""

import asyncio
import time
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
    """Asks for the addresses of a whole batch at once.

    `suppressed@` the `simulator_domain` is on the list of every account.
    """

    def __init__(
        self, suppressions: Suppressions, snapshot: SuppressionSnapshot, simulator_domain: str = ""
    ) -> None:
        self._suppressions = suppressions
        self._snapshot = snapshot
        self._simulator_domain = simulator_domain
        self._paused_until = 0.0

    async def find_many(self, mails: Iterable[Addressed]) -> Findings:
        """Return what is known of the mails, by the database or without it."""
        unique = dict.fromkeys(mails)
        simulated = {mail: _simulated(mail) for mail in unique if self._is_simulated(mail)}
        findings = await self._find_many([mail for mail in unique if mail not in simulated])
        return Findings({**findings.suppressed, **simulated}, findings.doubt)

    async def _find_many(self, asked: list[Addressed]) -> Findings:
        now = asyncio.get_running_loop().time()
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

    def _is_simulated(self, mail: Addressed) -> bool:
        local, _, domain = mail.address.rpartition("@")
        return domain == self._simulator_domain and local.partition("+")[0] == "suppressed"

    def _by_snapshot(self, asked: list[Addressed]) -> Findings:
        doubt = frozenset(mail for mail in asked if self._snapshot.may_be_suppressed(mail))
        metrics.SKIPPED.labels("suppressions").inc(len(asked))
        metrics.DOUBTED.inc(len(doubt))
        return Findings(doubt=doubt)


def _simulated(mail: Addressed) -> Suppression:
    return Suppression(
        account=mail.account,
        address=mail.address,
        reason="simulated: suppressed",
        kind="hard",
        created=time.time(),
        expires=None,
    )
