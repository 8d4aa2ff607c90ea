"""What an account may send now: looked up seldom, and remembered while the database is away.

Both ways in ask here, so that a switch of an account means the same over SMTP and REST.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from postroad_common.caching import Cache
from postroad_common.errors import StoreAway
from postroad_common.mail.address import domain_of
from postroad_common.mail.senders import is_at_or_below
from postroad_common.store.accounts import Account, Accounts
from postroad_common.store.domains import Domains
from postroad_common.store.rollups import Rollups

FRESH_SECONDS = 5.0
STALE_SECONDS = 3600.0
PATIENCE_SECONDS = 0.5  # how long an account that is remembered waits for a new look-up
_ACCOUNTS = 10_000  # remembered


@dataclass(frozen=True, slots=True)
class SendingRights:
    """What an account may do. `domains` are those it may send from, None where that is any.

    `left_today` is how many more messages it may send today (UTC), None where that is unbounded;
    it follows what is sent by some seconds.
    """

    suspended: bool = False
    domains: frozenset[str] | None = None
    left_today: int | None = None

    def unverified(self, *addresses: str) -> str | None:
        """Return the first domain of the addresses that the account may not send from, if any."""
        if self.domains is None:
            return None
        for address in addresses:
            domain = domain_of(address)
            if domain and not is_at_or_below(domain, self.domains):
                return domain
        return None


class SendingRules:
    """Looks up what accounts may send."""

    def __init__(
        self,
        accounts: Accounts,
        domains: Domains,
        rollups: Rollups,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._domains = domains
        self._rollups = rollups
        self._clock = clock
        self._known: Cache[str, tuple[float, SendingRights]] = Cache(
            _ACCOUNTS, seconds=STALE_SECONDS, clock=clock
        )

    async def of(self, account: str) -> SendingRights:
        """Return what the account may do.

        Raises:
            StoreAway: the database is away and the account was not asked for lately.
        """
        known = self._known.get(account)
        now = self._clock()
        if known is not None:
            if now - known[0] < FRESH_SECONDS:
                return known[1]
            # Those who ask meanwhile, and all for a while if the database is away, do not wait.
            self._known.put(account, (now, known[1]))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if known else None):
                found = await self._look_up(account)
        except (StoreAway, TimeoutError):
            if known is None:
                raise
            return known[1]
        self._known.put(account, (now, found))
        return found

    async def _look_up(self, account_id: str) -> SendingRights:
        account = await self._accounts.find(account_id) or Account(account_id)
        rights = SendingRights(suspended=account.suspended)
        if account.verified_senders_only:
            rights = replace(rights, domains=await self._domains.verified(account_id))
        if limit := account.limits.get("messages_per_day"):
            today = f"{datetime.fromtimestamp(time.time(), UTC):%Y-%m-%d}"
            days = await self._rollups.read(account_id, today, today)
            sent = sum(day.counts.get("accepted", 0) for day in days)
            rights = replace(rights, left_today=max(0, limit - sent))
        return rights
