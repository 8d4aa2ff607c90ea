"""Hosted images: fetched from the store, kept in memory for a while, and served as what they are.

Without the database the tracker serves those it has; the reader of another gets a transparent
pixel with an error status, which no cache keeps. The memory is bounded, and so is the number of
questions to the store under way: one image is asked for once, however many readers wait for it.
"""

import asyncio

import structlog

from postroad_common.caching import Cache
from postroad_common.errors import StoreAway
from postroad_common.store.images import HostedImage, Images
from postroad_common.tasks import BackgroundTasks
from postroad_tracker import pages
from postroad_tracker.pages import TrackerPage

PATIENCE = 2.0  # seconds a reader waits for the store
LEFT_ALONE = 5.0  # seconds after a failure in which the store is not asked
MAX_MEMORY = 64 * 1024 * 1024  # octets of images
MAX_ASKING = 64
# Media types that a browser shows and never runs: whatever else the store might hold is not sent.
SAFE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


class ImageCache:
    """The images of `images`; at most `max_memory` octets of them are kept."""

    def __init__(self, images: Images, max_memory: int = MAX_MEMORY) -> None:
        self._images = images
        self._kept: Cache[bytes, HostedImage] = Cache(
            max_memory, weigh=lambda image: len(image.data)
        )
        self._asking: dict[bytes, asyncio.Task[HostedImage | None]] = {}
        self._tasks = BackgroundTasks("image", expected=(StoreAway,))
        self._left_alone_until = 0.0
        self._log = structlog.get_logger("tracker")

    async def page(
        self, digest: bytes, if_none_match: bytes | None, *, counted: bool
    ) -> TrackerPage:
        """Return the page for the image with this SHA-256.

        A `counted` one must be asked for each time it is shown, so that its openings are known,
        but is not sent again to who has it.
        """
        tag = b'"%s"' % digest.hex()[:32].encode("ascii")
        if if_none_match is not None and tag in if_none_match:
            return pages.not_modified(tag, counted=counted)
        try:
            image = await self._find(digest)
        except (StoreAway, TimeoutError):
            return pages.IMAGE_AWAY
        if image is None or image.media_type not in SAFE_TYPES:
            return pages.NO_IMAGE
        return pages.image(image.media_type.encode("ascii"), image.data, tag, counted=counted)

    async def _find(self, digest: bytes) -> HostedImage | None:
        kept = self._kept.get(digest)
        if kept is not None:
            return kept
        task = self._asking.get(digest)
        if task is None:
            loop = asyncio.get_running_loop()
            if loop.time() < self._left_alone_until or len(self._asking) >= MAX_ASKING:
                raise StoreAway("not asked now")
            task = self._asking[digest] = self._tasks.spawn(self._ask(digest))
        return await asyncio.shield(task)

    async def _ask(self, digest: bytes) -> HostedImage | None:
        try:
            async with asyncio.timeout(PATIENCE):
                image = await self._images.get(digest)
        except (StoreAway, TimeoutError) as error:
            self._left_alone_until = asyncio.get_running_loop().time() + LEFT_ALONE
            self._log.warning("images not served", error=str(error))
            raise StoreAway(str(error)) from error
        finally:
            del self._asking[digest]
        if image is not None:
            self.keep(image)
        return image

    def keep(self, image: HostedImage) -> None:
        """Keep an image in memory, in place of those unused the longest."""
        self._kept.put(image.digest, image)

    @property
    def octets(self) -> int:
        """The size of all images in memory."""
        return self._kept.weight

    @property
    def digests(self) -> list[bytes]:
        """Those in memory, the least recently used first."""
        return list(self._kept)
