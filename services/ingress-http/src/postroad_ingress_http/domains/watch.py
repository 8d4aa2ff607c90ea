"""Checks the records of all domains by itself, each when it is due, by one process at a time."""

import asyncio
import random
from collections.abc import Callable

import structlog

from postroad_common.errors import Transient
from postroad_common.store.domains import Domains
from postroad_ingress_http.domains.senderdomains import SenderDomains
from postroad_ingress_http.http.errors import ApiError

IDLE_SECONDS = 15.0
PATIENCE_SECONDS = 600.0
"""After which a domain whose check got stuck is checked by another process."""
_log = structlog.get_logger(__name__)


class DomainWatch:
    """Runs for as long as the service does."""

    def __init__(
        self,
        store: Domains,
        domains: SenderDomains,
        clock: Callable[[], float],
        *,
        idle: float = IDLE_SECONDS,
    ) -> None:
        """`idle`: seconds to wait while nothing is due."""
        self._store = store
        self._domains = domains
        self._clock = clock
        self._idle = idle

    async def run(self) -> None:
        """Check what is due, for ever."""
        while True:
            try:
                busy = await self.check_one()
            except Transient as error:
                _log.info("domains are not checked", error=str(error))
                busy = False
            if not busy:
                await asyncio.sleep(self._idle * random.uniform(0.8, 1.2))

    async def check_one(self) -> bool:
        """Check one domain that is due; False when none is."""
        domain = await self._store.claim_due(self._clock(), PATIENCE_SECONDS)
        if domain is None:
            return False
        try:
            await self._domains.verify(domain.account, domain.domain)
        except ApiError as refusal:  # deleted meanwhile, or verified elsewhere
            _log.info("domain not checked", domain=domain.domain, reason=refusal.message)
        return True
