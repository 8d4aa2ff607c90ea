"""What the transformer asks the database, in batches and cached: DKIM keys and suppressions.

Mail does not wait for the database: without it, keys come from the cache however old, and nobody
counts as suppressed. After a failure it is left alone for some seconds, so that each batch does
not wait for the same timeout again.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import structlog

from postroad_common.errors import StoreAway
from postroad_common.store.domains import DkimKey, Domains, SenderDomain
from postroad_common.store.suppressions import Suppression, Suppressions
from postroad_transformer.dkim import KeyUnusable, SigningKey, load_key

KEYS_FRESH = 60.0  # seconds
MAX_DOMAINS = 5_000  # cached pairs of account and domain
LEFT_ALONE = 5.0  # seconds
PATIENCE = 1.5  # seconds; a healthy database answers in milliseconds
_MAX_PAIRS = 2_000  # per query
_MAX_LABELS = 6  # of a domain whose parents are tried

_log = structlog.get_logger("lookups")

Pair = tuple[str, str]


class _Entry(NamedTuple):
    at: float
    stored: tuple[DkimKey, ...] | None
    keys: tuple[SigningKey, ...]


class SigningKeys:
    """The signing keys of sender domains by account and domain.

    A domain without keys is signed for by the nearest parent that has some, which DMARC's relaxed
    alignment takes for the same.
    """

    def __init__(self, domains: Domains) -> None:
        self._domains = domains
        self._cache: dict[Pair, _Entry] = {}
        self._left_alone_until = 0.0

    async def find_many(self, pairs: Iterable[Pair]) -> dict[Pair, tuple[SigningKey, ...]]:
        """The keys for each (account, domain); an empty tuple where there are none."""
        now = asyncio.get_running_loop().time()
        wanted = {pair: list(_with_parents(pair)) for pair in pairs}
        missing = {
            candidate
            for candidates in wanted.values()
            for candidate in candidates
            if (entry := self._cache.get(candidate)) is None or now - entry.at > KEYS_FRESH
        }
        if missing and now >= self._left_alone_until:
            await self._load(missing, now)
        return {pair: self._nearest(candidates) for pair, candidates in wanted.items()}

    async def _load(self, pairs: set[Pair], now: float) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._domains.find_many(pairs)
        except (StoreAway, TimeoutError) as error:
            self._left_alone_until = now + LEFT_ALONE
            _log.warning("signing with the keys at hand", error=str(error), domains=len(pairs))
            return
        if len(self._cache) + len(pairs) > MAX_DOMAINS:
            self._cache.clear()
        for pair in pairs:
            domain = found.get(pair)
            old = self._cache.get(pair)
            if domain is None:
                self._cache[pair] = _Entry(now, None, ())
            elif old is not None and old.stored == domain.keys:
                self._cache[pair] = old._replace(at=now)
            else:  # loading an RSA key costs tens of milliseconds
                keys = await asyncio.to_thread(_loaded, domain)
                self._cache[pair] = _Entry(now, domain.keys, keys)

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


def _loaded(domain: SenderDomain) -> tuple[SigningKey, ...]:
    keys = []
    for stored in domain.keys:
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


class SuppressionCheck:
    """Asks for the addresses of a whole batch at once."""

    def __init__(self, suppressions: Suppressions) -> None:
        self._suppressions = suppressions
        self._left_alone_until = 0.0

    async def find_many(self, pairs: Iterable[Pair]) -> Mapping[Pair, Suppression]:
        """Those of the (account, lower-case address) pairs that are suppressed."""
        now = asyncio.get_running_loop().time()
        asked = list(dict.fromkeys(pairs))
        if now < self._left_alone_until:
            return {}
        found: dict[Pair, Suppression] = {}
        try:
            for at in range(0, len(asked), _MAX_PAIRS):
                async with asyncio.timeout(PATIENCE):
                    found |= await self._suppressions.find_many(asked[at : at + _MAX_PAIRS])
        except (StoreAway, TimeoutError) as error:
            self._left_alone_until = now + LEFT_ALONE
            _log.warning("suppressions not checked", error=str(error), addresses=len(asked))
        return found
