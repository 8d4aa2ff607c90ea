"""The signing keys and tracking hosts of sender domains."""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

import structlog

from postroad_common.caching import Cache
from postroad_common.errors import StoreAway
from postroad_common.store.domains import DkimKey, Domains, SenderDomain
from postroad_transformer import metrics
from postroad_transformer.lookups import PAUSE, QUERY_TIMEOUT, Pair
from postroad_transformer.signing.keys import KeyUnusable, SigningKey, load_key

KEYS_FRESH = 60.0  # seconds
MAX_DOMAINS = 5_000  # cached pairs of account and domain
_MAX_LABELS = 6  # of a domain whose parents are tried

_log = structlog.get_logger("lookups")


class _Entry(NamedTuple):
    at: float
    stored: tuple[DkimKey, ...] | None
    keys: tuple[SigningKey, ...]
    tracking_host: str | None = None
    return_path: str | None = None


class SigningKeys:
    """The signing keys and tracking hosts of sender domains by account and domain.

    A domain without keys is signed for by the nearest parent that has some, which DMARC's relaxed
    alignment takes for the same.
    """

    def __init__(self, domains: Domains) -> None:
        self._domains = domains
        self._cache: Cache[Pair, _Entry] = Cache(MAX_DOMAINS)
        self._paused_until = 0.0

    async def find_many(self, pairs: Iterable[Pair]) -> dict[Pair, tuple[SigningKey, ...]]:
        """Return the keys for each (account, domain); an empty tuple where there are none."""
        now = asyncio.get_running_loop().time()
        wanted = {pair: list(_with_parents(pair)) for pair in pairs}
        missing = {
            candidate
            for candidates in wanted.values()
            for candidate in candidates
            if (entry := self._cache.get(candidate)) is None or now - entry.at > KEYS_FRESH
        }
        if missing and now < self._paused_until:
            metrics.SKIPPED.labels("keys").inc(len(missing))
        elif missing:
            await self._load(missing, now)
        return {pair: self._nearest(candidates) for pair, candidates in wanted.items()}

    async def _load(self, pairs: set[Pair], now: float) -> None:
        try:
            async with asyncio.timeout(QUERY_TIMEOUT):
                found = await self._domains.find_many(pairs)
        except (StoreAway, TimeoutError) as error:
            self._paused_until = now + PAUSE
            metrics.SKIPPED.labels("keys").inc(len(pairs))
            _log.warning("signing with the keys at hand", error=str(error), domains=len(pairs))
            return
        for pair in pairs:
            domain = found.get(pair)
            old = self._cache.get(pair)
            if domain is None:
                self._cache.put(pair, _Entry(now, None, ()))
                continue
            tracking = domain.tracking_host if domain.verified else None
            path = domain.return_path if domain.uses_return_path else None
            if old is not None and old.stored == domain.keys:
                self._cache.put(
                    pair, old._replace(at=now, tracking_host=tracking, return_path=path)
                )
            else:  # loading an RSA key costs tens of milliseconds
                keys = await asyncio.to_thread(_load_keys, domain)
                self._cache.put(pair, _Entry(now, domain.keys, keys, tracking, path))

    def tracking_host(self, pair: Pair) -> str | None:
        """Return the tracking host of the domain or its nearest parent; ask for it first."""
        for candidate in _with_parents(pair):
            entry = self._cache.get(candidate)
            if entry is not None and entry.tracking_host:
                return entry.tracking_host
        return None

    def return_path(self, pair: Pair) -> str | None:
        """Return the bounce host of the domain or its nearest parent; ask for it first."""
        for candidate in _with_parents(pair):
            entry = self._cache.peek(candidate)
            if entry is not None and entry.return_path:
                return entry.return_path
        return None

    def _nearest(self, candidates: Iterable[Pair]) -> tuple[SigningKey, ...]:
        for candidate in candidates:
            entry = self._cache.get(candidate)
            if entry is not None and entry.keys:
                return entry.keys
        return ()


def _with_parents(pair: Pair) -> Iterable[Pair]:
    account, domain = pair
    labels = domain.split(".")
    yield pair
    for index in range(max(1, len(labels) - _MAX_LABELS), len(labels) - 1):
        yield account, ".".join(labels[index:])


def _load_keys(domain: SenderDomain) -> tuple[SigningKey, ...]:
    keys = []
    for stored in domain.keys:
        if stored.state != "active":  # its record was not seen yet, or it has been replaced
            continue
        try:
            keys.append(SigningKey(domain.domain, stored.selector, load_key(stored.private)))
        except KeyUnusable as error:
            _log.error(
                "not signing with a key",
                domain=domain.domain,
                selector=stored.selector,
                error=str(error),
            )
    return tuple(keys)
