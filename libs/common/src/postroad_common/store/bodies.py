"""Large bodies (claim checks) in GridFS, each until its message can no longer need it."""

import contextlib
import time

from bson import ObjectId
from bson.errors import InvalidId
from gridfs import AsyncGridFSBucket, NoFile
from gridfs.errors import CorruptGridFile

from postroad_common.schemas.submission import BodyReference
from postroad_common.store.access import Collection, guarded

CHUNK = 1_048_576  # octets
_PURGE_AT_ONCE = 500


class BodyGone(LookupError):  # noqa: N818 - a fact, not a fault
    """There is no such body any more."""


class Bodies:
    """The GridFS bucket `bodies`."""

    def __init__(self, bucket: AsyncGridFSBucket, files: Collection) -> None:
        self._bucket = bucket
        self._files = files

    @guarded
    async def put(self, data: bytes | memoryview, expires: float) -> BodyReference:
        """Store `data`; when this returns, a majority has it in its journal.

        It may be deleted after `expires` (Unix seconds).
        """
        file = await self._bucket.upload_from_stream(
            "", bytes(data), metadata={"expires": expires, "created": time.time()}
        )
        return BodyReference(file=str(file), size=len(data))

    @guarded
    async def get(self, reference: BodyReference) -> bytes:
        """Return the stored octets.

        Raises:
            BodyGone: deleted, or never there.
        """
        try:
            stream = await self._bucket.open_download_stream(ObjectId(reference.file))
            return bytes(await stream.read())
        except (NoFile, InvalidId) as error:
            raise BodyGone(f"the body {reference.file} is gone") from error
        except CorruptGridFile as error:
            if await self._files.find_one({"_id": ObjectId(reference.file)}, {"_id": 1}):
                raise
            raise BodyGone(f"the body {reference.file} has just gone") from error

    @guarded
    async def keep_until(self, reference: BodyReference, expires: float) -> None:
        """See that a stored body is not deleted before `expires` (Unix seconds)."""
        with contextlib.suppress(InvalidId):
            await self._files.update_one(
                {"_id": ObjectId(reference.file)}, {"$max": {"metadata.expires": expires}}
            )

    @guarded
    async def keep_only_until(self, reference: BodyReference, expires: float) -> None:
        """Let a stored body be deleted after `expires` (Unix seconds), if it was not before."""
        with contextlib.suppress(InvalidId):
            await self._files.update_one(
                {"_id": ObjectId(reference.file)}, {"$min": {"metadata.expires": expires}}
            )

    @guarded
    async def delete(self, reference: BodyReference) -> None:
        """Delete now; nothing happens when it is gone already."""
        with contextlib.suppress(NoFile, InvalidId):
            await self._bucket.delete(ObjectId(reference.file))

    @guarded
    async def purge(self, now: float) -> int:
        """Delete what has expired, some hundreds at most; returns how many it was."""
        cursor = self._files.find({"metadata.expires": {"$lt": now}}, {"_id": 1})
        count = 0
        async for found in cursor.limit(_PURGE_AT_ONCE):
            with contextlib.suppress(NoFile):
                await self._bucket.delete(found["_id"])
                count += 1
        return count
