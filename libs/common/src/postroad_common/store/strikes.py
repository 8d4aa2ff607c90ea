"""Soft bounces per account and address, by day: the memory that a suppression for them needs."""

from collections.abc import Iterable
from dataclasses import dataclass

from pymongo import UpdateOne

from postroad_common.store.access import Collection, Document, guarded, to_date

DAY = 86_400.0  # seconds
MEMORY = 45 * DAY
"""Seconds after the last strike at which an address's strikes are forgotten."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One soft bounce. `time` is Unix seconds."""

    account: str
    address: str
    time: float


def _key(account: str, address: str) -> str:
    return f"{account}/{address.lower()}"


class Strikes:
    """The collection `strikes`: one small document per address, one field per day."""

    def __init__(self, collection: Collection) -> None:
        self._strikes = collection

    @guarded
    async def add(self, strikes: Iterable[Strike]) -> dict[tuple[str, str], frozenset[int]]:
        """Note the strikes; a second one on the same day (UTC) changes nothing.

        Returns for each (account, address in lower case) the days with strikes, counted from 1970.
        """
        operations = []
        pairs: dict[str, tuple[str, str]] = {}
        for strike in strikes:
            key = _key(strike.account, strike.address)
            pairs[key] = (strike.account, strike.address.lower())
            update: Document = {
                "$set": {f"days.{int(strike.time // DAY)}": True},
                "$max": {"at": to_date(strike.time + MEMORY)},
            }
            operations.append(UpdateOne({"_id": key}, update, upsert=True))
        if not operations:
            return {}
        await self._strikes.bulk_write(operations, ordered=False)
        cursor = self._strikes.find({"_id": {"$in": list(pairs)}})
        return {
            pairs[found["_id"]]: frozenset(int(day) for day in found.get("days", {}))
            async for found in cursor
        }

    @guarded
    async def days(self, account: str, address: str) -> frozenset[int]:
        """Return the days with strikes of an address, counted from 1970."""
        found = await self._strikes.find_one({"_id": _key(account, address)})
        return frozenset(int(day) for day in (found or {}).get("days", {}))

    @guarded
    async def clear(self, account: str, address: str) -> None:
        """Forget the strikes of an address."""
        await self._strikes.delete_one({"_id": _key(account, address)})
