"""Hosted images: taken out of mails, stored once whatever the number of mails, until nobody reads.

An image is addressed by the SHA-256 of its octets. Its life starts anew with each mail that shows
it. One document each, so an image must stay well below 16 MB; who stores them sees to that.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bson import Binary
from pymongo import UpdateOne

from postroad_common.store.access import Collection, guarded, to_date

MAX_IMAGE = 5 * 1024 * 1024
"""Octets of one image."""


@dataclass(frozen=True, slots=True)
class HostedImage:
    """An image: `digest` is the SHA-256 of `data`, `media_type` for instance `image/png`."""

    digest: bytes
    media_type: str
    data: bytes = field(repr=False)


class Images:
    """The collection `images`; an image lives for `keep` seconds after its last mail."""

    def __init__(self, collection: Collection, keep: float) -> None:
        self._images = collection
        self._keep = keep

    @guarded
    async def put_many(self, images: Sequence[HostedImage]) -> None:
        """Store those that are not there yet, and prolong the life of those that are."""
        at = to_date(time.time() + self._keep)
        names = [image.digest.hex() for image in images]
        known = {
            found["_id"] async for found in self._images.find({"_id": {"$in": names}}, {"_id": 1})
        }
        await self._images.bulk_write(
            [
                UpdateOne(
                    {"_id": name},
                    {
                        "$max": {"at": at},
                        "$setOnInsert": {"type": image.media_type, "data": Binary(image.data)},
                    }
                    if name not in known
                    else {"$max": {"at": at}},
                    # One that dies between look-up and here is not made again without its octets.
                    upsert=name not in known,
                )
                for name, image in zip(names, images, strict=True)
            ],
            ordered=False,
        )

    @guarded
    async def get(self, digest: bytes) -> HostedImage | None:
        """Return the image whose octets have this SHA-256."""
        found = await self._images.find_one({"_id": digest.hex()})
        return None if found is None else HostedImage(digest, found["type"], bytes(found["data"]))
