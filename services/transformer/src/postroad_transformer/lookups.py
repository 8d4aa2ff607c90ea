"""What the transformer asks the database, in batches and cached: DKIM keys, suppressions, images.

Mail does not wait for the database: without it, keys come from the cache however old, and nobody
counts as suppressed. After a failure it is left alone for some seconds, so that each batch does
not wait for the same timeout again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import structlog

from postroad_common.errors import StoreAway
from postroad_common.store.domains import DkimKey, Domains, SenderDomain
from postroad_common.store.images import HostedImage, Images
from postroad_common.store.suppressions import Suppression, Suppressions
from postroad_transformer.dkim import KeyUnusable, SigningKey, load_key

KEYS_FRESH = 60.0  # seconds
MAX_DOMAINS = 5_000  # cached pairs of account and domain
LEFT_ALONE = 5.0  # seconds
PATIENCE = 1.5  # seconds; a healthy database answers in milliseconds
IMAGE_FRESH = 86_400.0  # seconds for which a stored image is not stored again
MAX_REMEMBERED_IMAGES = 10_000
_MAX_PAIRS = 2_000  # per query
_MAX_LABELS = 6  # of a domain whose parents are tried

_log = structlog.get_logger("lookups")

Pair = tuple[str, str]


class _Entry(NamedTuple):
    at: float
    stored: tuple[DkimKey, ...] | None
    keys: tuple[SigningKey, ...]
    tracking_host: str | None = None


class SigningKeys:
    """The signing keys and tracking hosts of sender domains by account and domain.

    A domain without keys is signed for by the nearest parent that has some, which DMARC's relaxed
    alignment takes for the same.
    """

    def __init__(self, domains: Domains) -> None:
        self._domains = domains
        self._cache: dict[Pair, _Entry] = {}
        self._left_alone_until = 0.0

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
                continue
            host = domain.tracking_host if domain.verified else None
            if old is not None and old.stored == domain.keys:
                self._cache[pair] = old._replace(at=now, tracking_host=host)
            else:  # loading an RSA key costs tens of milliseconds
                keys = await asyncio.to_thread(_loaded, domain)
                self._cache[pair] = _Entry(now, domain.keys, keys, host)

    def tracking_host(self, pair: Pair) -> str | None:
        """Return the tracking host of the domain or its nearest parent; ask for it first."""
        for candidate in _with_parents(pair):
            entry = self._cache.get(candidate)
            if entry is not None and entry.tracking_host:
                return entry.tracking_host
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


class ImageStore:
    """Sees to it that images are stored; most were in an earlier mail and cost nothing."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._kept: OrderedDict[bytes, float] = OrderedDict()  # digest, and when it was stored
        self._left_alone_until = 0.0

    async def keep(self, images: Sequence[HostedImage]) -> bool:
        """Store `images`; False if the store is away and their mail has to carry them itself."""
        now = asyncio.get_running_loop().time()
        new = {
            image.digest: image
            for image in images
            if now - self._kept.get(image.digest, float("-inf")) > IMAGE_FRESH
        }
        if not new:
            return True
        if now < self._left_alone_until:
            return False
        try:
            await self._images.put_many(list(new.values()))
        except StoreAway as error:
            self._left_alone_until = now + LEFT_ALONE
            _log.warning("images not hosted", error=str(error), images=len(new))
            return False
        for digest in new:
            self._kept[digest] = now
        while len(self._kept) > MAX_REMEMBERED_IMAGES:
            self._kept.popitem(last=False)
        return True
