"""Marks of messages that are being handled alone: one that is left tells of a process that died."""

import time

from postroad_common.store.access import Collection, guarded, to_date

MEMORY = 86_400.0
"""Seconds after which a mark that was left is forgotten."""


class Marks:
    """The collection `marks`: how often the handling of a message was begun and not ended."""

    def __init__(self, collection: Collection) -> None:
        self._marks = collection

    @guarded
    async def begin(self, key: str) -> int:
        """Leave a mark for `key`; returns how many there are now."""
        found = await self._marks.find_one_and_update(
            {"_id": key},
            {"$inc": {"begun": 1}, "$set": {"at": to_date(time.time() + MEMORY)}},
            upsert=True,
            return_document=True,
        )
        assert found is not None  # noqa: S101 - an upsert returns a document
        return int(found["begun"])

    @guarded
    async def end(self, key: str) -> None:
        """Take the marks of `key` away."""
        await self._marks.delete_one({"_id": key})
