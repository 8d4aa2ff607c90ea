"""Hosted images, stored for the tracker before their mail goes out."""

import asyncio
from collections.abc import Sequence

import structlog

from postroad_common.caching import Cache
from postroad_common.errors import StoreAway
from postroad_common.store.images import HostedImage, Images
from postroad_transformer import metrics
from postroad_transformer.lookups import PAUSE

_log = structlog.get_logger("lookups")

IMAGE_FRESH = 86_400.0  # seconds for which a stored image is not stored again
MAX_REMEMBERED_IMAGES = 10_000


class ImageStore:
    """Sees to it that images are stored; most were in an earlier mail and cost nothing."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._kept: Cache[bytes, None] = Cache(MAX_REMEMBERED_IMAGES, seconds=IMAGE_FRESH)
        self._paused_until = 0.0

    async def keep(self, images: Sequence[HostedImage]) -> bool:
        """Store `images`; False if the store is away and their mail has to carry them itself."""
        now = asyncio.get_running_loop().time()
        new = {image.digest: image for image in images if image.digest not in self._kept}
        if not new:
            return True
        if now < self._paused_until:
            metrics.SKIPPED.labels("images").inc(len(new))
            return False
        try:
            await self._images.put_many(list(new.values()))
        except StoreAway as error:
            self._paused_until = now + PAUSE
            metrics.SKIPPED.labels("images").inc(len(new))
            _log.warning("images not hosted", error=str(error), images=len(new))
            return False
        for digest in new:
            self._kept.put(digest, None)
        return True
