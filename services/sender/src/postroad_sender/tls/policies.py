"""The MTA-STS policies of the domains that mail goes to: in memory, in the store, and fetched.

A policy holds from when it was fetched for as long as it says, whatever happens to the DNS record
or the policy host meanwhile (RFC 8461 section 5.1). It is fetched anew when the id in DNS changes,
and now and then before it expires; the latter nobody waits for.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from postroad_common.errors import StoreAway, Unstorable
from postroad_common.store.policies import PolicyRecord
from postroad_common.store.policies import PolicyRecords as Store
from postroad_sender.tls.fetch import FetchError
from postroad_sender.tls.mta_sts import Mode, MtaStsPolicy
from postroad_sender.tls.records import PolicyLookups
from postroad_smtp.client.stage import WireError

REFRESH_AFTER = 86_400.0  # seconds; sooner, if half of its time is over
FAILED_FOR = 300.0  # seconds until a policy host that gave none is asked again
ABSENT_FOR = 3600.0  # seconds until the store is asked again for a domain without a policy
AWAY_FOR = 30.0  # seconds without the store after it did not answer
MOST_DOMAINS = 50_000
MOST_CHARACTERS = 16_000_000  # of all patterns in memory

_log = structlog.get_logger("mta-sts")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a domain. `doubt`: it may have a policy that could not be had."""

    policy: MtaStsPolicy | None
    doubt: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    """`policy` is None for a domain that had none when the store was asked."""

    policy: MtaStsPolicy | None
    id: str
    fetched: float
    until: float

    @property
    def size(self) -> int:
        return 0 if self.policy is None else sum(map(len, self.policy.mx))


class StsPolicies:
    """One per process. Times are Unix seconds, because the store outlives processes."""

    def __init__(
        self,
        records: PolicyLookups,
        fetch: Callable[[str], Awaitable[MtaStsPolicy]],
        store: Store | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._fetch = fetch
        self._store = store
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._characters = 0
        self._failed: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._storing: set[asyncio.Task[None]] = set()
        self._away_until = 0.0

    async def find(self, domain: str) -> Known:
        """Return the policy that holds for `domain` now. Never raises for what others do."""
        announced, doubt = await self._announced(domain)
        kept = self._recall(domain)
        if kept is None:
            kept = await self._load(domain)
        if announced is not None:
            if kept.policy is None or kept.id != announced:
                if not self._has_failed(domain, announced):
                    await asyncio.shield(self._refresh(domain, announced))
                    kept = self._recall(domain) or kept
                doubt = kept.policy is None
            elif self._is_old(kept) and not self._has_failed(domain, announced):
                self._refresh(domain, announced)
        if kept.policy is None or kept.policy.mode is Mode.NONE:
            return Known(None, doubt and kept.policy is None)
        return Known(kept.policy)

    async def settled(self) -> None:
        """Wait until nothing is being fetched or stored."""
        while self._fetching or self._storing:
            await asyncio.wait({*self._fetching.values(), *self._storing})

    async def _announced(self, domain: str) -> tuple[str | None, bool]:
        """Return the id in DNS, and whether DNS has not said."""
        try:
            return await self._records.policy_id(domain), False
        except WireError as error:
            _log.info("policy record not known", domain=domain, error=str(error))
            return None, True

    def _is_old(self, kept: _Kept) -> bool:
        age = 0 if kept.policy is None else kept.policy.max_age
        return self._clock() - kept.fetched > min(REFRESH_AFTER, age / 2)

    # -- memory

    def _recall(self, domain: str) -> _Kept | None:
        kept = self._kept.get(domain)
        if kept is None:
            return None
        if kept.until <= self._clock():
            self._forget(domain)
            return None
        self._kept.move_to_end(domain)
        return kept

    def _remember(self, domain: str, kept: _Kept) -> None:
        self._forget(domain)
        self._kept[domain] = kept
        self._characters += kept.size
        while len(self._kept) > MOST_DOMAINS or self._characters > MOST_CHARACTERS:
            self._forget(next(iter(self._kept)))

    def _forget(self, domain: str) -> None:
        kept = self._kept.pop(domain, None)
        if kept is not None:
            self._characters -= kept.size

    def _has_failed(self, domain: str, announced: str) -> bool:
        failed = self._failed.get(domain)
        return failed is not None and failed[0] == announced and failed[1] > self._clock()

    # -- store

    async def _load(self, domain: str) -> _Kept:
        now = self._clock()
        record = None
        if self._store is not None and self._away_until <= now:
            try:
                record = await self._store.get(domain)
            except StoreAway as error:
                _log.info("policies are out of reach", error=str(error))
                self._away_until = now + AWAY_FOR
        until = self._away_until if self._away_until > now else now + ABSENT_FOR
        kept = _Kept(None, "", 0.0, until)
        if record is not None and record.expires > now:
            policy = MtaStsPolicy(Mode(record.mode), record.mx, record.max_age)
            kept = _Kept(policy, record.id, record.fetched, record.expires)
        newer = self._recall(domain)  # fetched while the store was asked
        if newer is not None and newer.policy is not None:
            return newer
        self._remember(domain, kept)
        return kept

    # -- fetching

    def _refresh(self, domain: str, announced: str) -> "asyncio.Task[None]":
        """Fetch the policy; there is one task for each domain."""
        task = self._fetching.get(domain)
        if task is None:
            task = asyncio.create_task(self._fetch_and_keep(domain, announced))
            self._fetching[domain] = task
            task.add_done_callback(lambda _: self._fetching.pop(domain, None))
        return task

    async def _fetch_and_keep(self, domain: str, announced: str) -> None:
        try:
            policy = await self._fetch(domain)
        except FetchError as error:
            _log.info("no policy", domain=domain, id=announced, error=str(error))
            self._failed[domain] = (announced, self._clock() + FAILED_FOR)
            self._failed.move_to_end(domain)
            if len(self._failed) > MOST_DOMAINS:
                self._failed.popitem(last=False)
            return
        now = self._clock()
        self._failed.pop(domain, None)
        record = PolicyRecord(domain, announced, policy.mode, policy.mx, policy.max_age, now)
        self._remember(domain, _Kept(policy, announced, now, record.expires))
        storing = asyncio.create_task(self._put(record))
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)

    async def _put(self, record: PolicyRecord) -> None:
        if self._store is None:
            return
        try:
            await self._store.put(record)
        except (StoreAway, Unstorable) as error:
            _log.info("policy not stored", domain=record.domain, error=str(error))
