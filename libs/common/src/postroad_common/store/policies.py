"""MTA-STS policies of other domains, shared by all senders and kept over restarts (RFC 8461)."""

from dataclasses import dataclass

from postroad_common.store.access import Collection, guarded, to_date


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """The policy of `domain`: `id` is that of its DNS record, `fetched` Unix seconds.

    `max_age` are the seconds that it holds from then on.
    """

    domain: str
    id: str
    mode: str
    mx: tuple[str, ...]
    max_age: int
    fetched: float

    @property
    def expires(self) -> float:
        """Unix seconds."""
        return self.fetched + self.max_age


class PolicyRecords:
    """The collection `policies`. The database removes what has expired."""

    def __init__(self, collection: Collection) -> None:
        self._policies = collection

    @guarded
    async def put(self, record: PolicyRecord) -> None:
        """Keep what was just fetched, instead of what is there."""
        document = {
            "id": record.id,
            "mode": record.mode,
            "mx": list(record.mx),
            "max_age": record.max_age,
            "fetched": record.fetched,
            "at": to_date(record.expires),
        }
        await self._policies.replace_one({"_id": record.domain}, document, upsert=True)

    @guarded
    async def get(self, domain: str) -> PolicyRecord | None:
        """Return the policy of `domain`; it may have expired a moment ago."""
        found = await self._policies.find_one({"_id": domain})
        if found is None:
            return None
        return PolicyRecord(
            domain=domain,
            id=found["id"],
            mode=found["mode"],
            mx=tuple(found["mx"]),
            max_age=found["max_age"],
            fetched=found["fetched"],
        )
