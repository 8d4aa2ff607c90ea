"""Requests with an Idempotency-Key: who works on them, and their answers, kept for a day."""

import time
from dataclasses import dataclass

from postroad_common.store.access import Collection, Document, guarded, insert_new, to_date


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known of a key: the hash of the first body and, once there is one, the answer.

    `ours` says that this caller works on it now. `created` (Unix seconds) is when the key was
    first seen: it stays the same over several tries.
    """

    fingerprint: str
    status: int | None
    answer: str | None
    ours: bool
    created: float


class Idempotency:
    """The collection `idempotency`."""

    def __init__(self, collection: Collection) -> None:
        self._requests = collection

    @guarded
    async def begin(
        self, account: str, key: str, fingerprint: str, *, stale_seconds: float
    ) -> Claim:
        """Claim the key, or learn who has it.

        A claim without an answer that was not renewed for `stale_seconds` belongs to nobody any
        more: of those who ask again with the same fingerprint, one gets it.
        """
        now = time.time()
        name = f"{account}/{key}"
        document: Document = {
            "_id": name,
            "fingerprint": fingerprint,
            "created": now,
            "claimed": now,
            "at": to_date(now),
        }
        if not await insert_new(self._requests, document):
            taken = await self._requests.find_one_and_update(
                {
                    "_id": name,
                    "fingerprint": fingerprint,
                    "status": {"$exists": False},
                    "claimed": {"$lt": now - stale_seconds},
                },
                {"$set": {"claimed": now}},
                return_document=True,
            )
            found = taken or await self._requests.find_one({"_id": name})
            if found is None:  # freed between the two: for the client as good as still in work
                return Claim(fingerprint, None, None, ours=False, created=now)
            return Claim(
                found["fingerprint"],
                found.get("status"),
                found.get("answer"),
                ours=taken is not None,
                created=found["created"],
            )
        return Claim(fingerprint, None, None, ours=True, created=now)

    @guarded
    async def renew(self, account: str, key: str) -> None:
        """Say that a claim is still worked on."""
        await self._requests.update_one(
            {"_id": f"{account}/{key}", "status": {"$exists": False}},
            {"$set": {"claimed": time.time()}},
        )

    @guarded
    async def finish(self, account: str, key: str, status: int, answer: str) -> None:
        """Keep the answer."""
        await self._requests.update_one(
            {"_id": f"{account}/{key}"}, {"$set": {"status": status, "answer": answer}}
        )

    @guarded
    async def release(self, account: str, key: str) -> None:
        """Let the next try have the key at once: this one may or may not have had an effect."""
        await self._requests.update_one(
            {"_id": f"{account}/{key}", "status": {"$exists": False}}, {"$set": {"claimed": 0.0}}
        )

    @guarded
    async def forget(self, account: str, key: str) -> None:
        """Free the key after a request that had no effect."""
        await self._requests.delete_one({"_id": f"{account}/{key}"})
