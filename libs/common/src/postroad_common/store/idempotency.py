"""Answers to requests with an Idempotency-Key, kept for a day."""

import time
from dataclasses import dataclass

from pymongo import errors

from postroad_common.store.access import Collection, guarded, to_date


@dataclass(frozen=True, slots=True)
class Remembered:
    """An earlier request: the hash of its body and, once it was answered, the answer."""

    fingerprint: str
    status: int | None
    answer: str | None


class Idempotency:
    """The collection `idempotency`."""

    def __init__(self, collection: Collection) -> None:
        self._requests = collection

    @guarded
    async def begin(self, account: str, key: str, fingerprint: str) -> Remembered | None:
        """Claim the key; None when it is new, else what is known of the earlier request."""
        now = time.time()
        name = f"{account}/{key}"
        try:
            await self._requests.insert_one(
                {"_id": name, "fingerprint": fingerprint, "created": now, "at": to_date(now)}
            )
        except errors.DuplicateKeyError:
            found = await self._requests.find_one({"_id": name})
            if found is None:
                return Remembered(fingerprint, None, None)
            return Remembered(found["fingerprint"], found.get("status"), found.get("answer"))
        return None

    @guarded
    async def finish(self, account: str, key: str, status: int, answer: str) -> None:
        """Keep the answer."""
        await self._requests.update_one(
            {"_id": f"{account}/{key}"}, {"$set": {"status": status, "answer": answer}}
        )

    @guarded
    async def forget(self, account: str, key: str) -> None:
        """Free the key after a request that had no effect."""
        await self._requests.delete_one({"_id": f"{account}/{key}"})
