"""Numbers of events per account, day and tag, and per account and hour, exact whatever crashes.

One definition of each number, for pages, REST and log files alike:

- `accepted`, `delivered`, `failed` (of which `expired`), `suppressed`, `cancelled`,
  `complained`, `unsubscribed`, `response`: messages, but for the last three events.
- `tested`: messages that were tests; nothing else that happens to these counts.
- `deferred`: attempts that are to be repeated; `deferred_unique`: messages of which one was.
- `bounced`: reports that came back, of which `bounced_hard` and `bounced_soft`.
- `simulated_delivered`, `simulated_complained`: those of the others that the simulator made up.
- `opened`, `clicked`: by people; `opened_unique`, `clicked_unique`: messages with at least one;
  `opened_machine`, `clicked_machine`: by scanners and the like, in none of the others.

The document of all mail also has the numbers of its parts (`rollupparts`): those of a provider
begin with the first attempt, as nobody knows before who will receive. Each tag has a document of
its own, by day only (`rolluptags` reads several at once).

A batch of events changes each document at most once: the document remembers the batches that
changed it while these may still be repeated (`ledger`).
"""

from collections import defaultdict
from collections.abc import Collection as Several
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from pymongo import UpdateOne, errors

from postroad_common.store.access import Collection, Document, duplicates, guarded
from postroad_common.store.rollupparts import (
    PARTS,
    WHOLE,
    MailPart,
    field_of,
    key_of,
    name_in,
    whole_field,
)
from postroad_common.store.rolluptags import TagRollups

_MAX_REMEMBERED = 10_000
NAMES = (
    *("accepted", "delivered", "deferred", "deferred_unique", "failed", "expired", "suppressed"),
    *(
        "cancelled",
        "tested",
        "bounced",
        "bounced_hard",
        "bounced_soft",
        "complained",
        "unsubscribed",
    ),
    *("response", "opened", "opened_unique", "opened_machine"),
    *("clicked", "clicked_unique", "clicked_machine"),
    *("simulated_delivered", "simulated_complained"),
)
"""The numbers that there are."""
Counts = Mapping[str, int]


def hour_of(seconds: float) -> str:
    """Return the hour of a moment (Unix seconds) as the counters name it: `2026-11-21T14`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H}"


class RollupKey(NamedTuple):
    """`day` is a date in UTC, `2026-11-21`, or an hour; the tag is empty for all messages.

    `part` is a part of all messages.
    """

    account: str
    day: str
    tag: str
    part: MailPart = WHOLE


@dataclass(frozen=True, slots=True)
class Rollup:
    """What happened on one day. `counts` by name: event names, and as feedback defines them."""

    account: str
    day: str
    tag: str
    counts: Counts


class Divided(NamedTuple):
    """The numbers of a day or an hour, and those of its parts of one kind, by name."""

    whole: Counts
    parts: Mapping[str, Counts]


def _name(key: RollupKey) -> str:
    return f"{key.account}/{key.day}/{key.tag}"


def _operation(
    batch: str, key: RollupKey, counts: Counts, stale: Sequence[str], *, upsert: bool
) -> UpdateOne:
    update: Document = {
        "$inc": dict(counts),
        "$set": {f"batches.{batch}": 1},
    }
    if stale:
        update["$unset"] = {f"batches.{old}": "" for old in stale}
    if upsert:
        update["$setOnInsert"] = {
            "account": key.account,
            "day": key.day,
            "tag": key.tag,
            "at": datetime.fromisoformat(key.day).replace(tzinfo=UTC),
        }
    query = {"_id": _name(key), f"batches.{batch}": {"$exists": False}}
    return UpdateOne(query, update, upsert=upsert)


class Rollups:
    """The collection `rollups`; or `rollups_hours`, in which each day is an hour.

    Attributes:
        by_tag: what reads the documents of several tags.
    """

    def __init__(self, collection: Collection) -> None:
        self._rollups = collection
        self.by_tag = TagRollups(collection)
        # Marks of finished batches, to be removed with the next change of the same document.
        self._finished: defaultdict[RollupKey, list[str]] = defaultdict(list)

    @guarded
    async def add(self, batch: str, changes: Mapping[RollupKey, Counts]) -> None:
        """Add `changes`, unless this batch has been added already."""
        if not changes:
            return
        changes = _by_document(changes)
        stale = {key: self._finished.pop(key, []) for key in changes}
        try:
            await self._change(batch, changes, stale)
        except BaseException:
            for key, batches in stale.items():
                self._finished[key].extend(batches)
            raise

    async def _change(
        self,
        batch: str,
        changes: Mapping[RollupKey, Counts],
        stale: Mapping[RollupKey, Sequence[str]],
    ) -> None:
        keys = list(changes)
        operations = [_operation(batch, key, changes[key], stale[key], upsert=True) for key in keys]
        try:
            await self._rollups.bulk_write(operations, ordered=False)
        except errors.BulkWriteError as error:
            # Either this batch is in already, or somebody else has just made the document: without
            # the upsert, the one is left alone and the other changed.
            again = [keys[index] for index in duplicates(error)]
            await self._rollups.bulk_write(
                [_operation(batch, key, changes[key], stale[key], upsert=False) for key in again],
                ordered=False,
            )

    def finished(self, batch: str, changes: Mapping[RollupKey, Counts]) -> None:
        """Let the marks of a closed batch go: it will not be repeated."""
        if len(self._finished) > _MAX_REMEMBERED:
            self._finished.clear()  # those marks stay where they are, without harm
        for key in dict.fromkeys(key._replace(part=WHOLE) for key in changes):
            self._finished[key].append(batch)

    @guarded
    async def read(
        self, account: str, start: str, end: str, tag: str = "", part: MailPart = WHOLE
    ) -> list[Rollup]:
        """Return the days from `start` to `end` (dates, the last one included), in their order.

        With a tag, or a part of all mail, those on which there was any of it.
        """
        query: Document = {"account": account, "tag": tag, "day": {"$gte": start, "$lte": end}}
        path = field_of(part)
        if part.by:
            query[path] = {"$exists": True}
        cursor = self._rollups.find(query, {"day": 1, path: 1}).sort("day", 1)
        outer, _, inner = path.partition(".")
        rollups = []
        async for found in cursor:
            counts = found.get(outer, {})
            counts = counts.get(inner, {}) if inner else counts
            rollups.append(Rollup(account, found["day"], tag, counts))
        return rollups

    @guarded
    async def parts(
        self, account: str, start: str, end: str, by: str
    ) -> dict[str, Mapping[str, Counts]]:
        """Return the numbers of each part of a kind, by day and by name."""
        query = {"account": account, "tag": "", "day": {"$gte": start, "$lte": end}}
        found = await self._divided(query, by)
        return {day: divided.parts for day, divided in found.items() if divided.parts}

    @guarded
    async def divided(self, account: str, days: Several[str], by: str) -> dict[str, Divided]:
        """Return what there is of some days, divided into the parts of a kind."""
        query = {"account": account, "tag": "", "day": {"$in": list(days)}}
        return await self._divided(query, by)

    async def _divided(self, query: Document, by: str) -> dict[str, Divided]:
        whole, parts = whole_field(by), f"{by}s"
        return {
            found["day"]: Divided(
                found.get(whole, {}),
                {name_in(key): counts for key, counts in found.get(parts, {}).items()},
            )
            async for found in self._rollups.find(query, {"day": 1, whole: 1, parts: 1})
        }

    @guarded
    async def largest(
        self, account: str, start: str, end: str, by: str, *, what: str, names: Sequence[str]
    ) -> dict[str, dict[str, int]]:
        """Return one number of some parts of a kind by day and name; of all others together as "".

        The others are added up by the database, as there may be many.
        """
        keys = {name: key_of(name) for name in names}
        values = {"$map": {"input": {"$objectToArray": f"${by}s"}, "in": f"$$this.v.{what}"}}
        cursor = await self._rollups.aggregate(
            [
                {"$match": {"account": account, "tag": "", "day": {"$gte": start, "$lte": end}}},
                {
                    "$project": {
                        "day": 1,
                        "all": {"$sum": values},
                        **{f"{by}s.{key}.{what}": 1 for key in keys.values()},
                    }
                },
            ]
        )
        days: dict[str, dict[str, int]] = {}
        async for found in cursor:
            parts = found.get(f"{by}s", {})
            numbers = {name: parts.get(key, {}).get(what, 0) for name, key in keys.items()}
            days[found["day"]] = numbers | {"": found["all"] - sum(numbers.values())}
        return days

    @guarded
    async def part_names(self, account: str, start: str, end: str) -> dict[str, list[str]]:
        """Return the names of the parts of each kind from `start` to `end`, in their order."""
        keys = {
            by: {"$map": {"input": {"$objectToArray": f"${by}s"}, "in": "$$this.k"}} for by in PARTS
        }
        found: dict[str, set[str]] = {by: set() for by in PARTS}
        cursor = await self._rollups.aggregate(
            [
                {"$match": {"account": account, "tag": "", "day": {"$gte": start, "$lte": end}}},
                {"$project": {"_id": 0, **keys}},
            ]
        )
        async for document in cursor:
            for by in PARTS:
                found[by].update(document[by] or ())
        return {by: sorted(map(name_in, keys)) for by, keys in found.items()}


def _by_document(changes: Mapping[RollupKey, Counts]) -> dict[RollupKey, dict[str, int]]:
    """Return what is added to the fields of each document: those of parts are in that of all."""
    documents: dict[RollupKey, dict[str, int]] = {}
    for key, counts in changes.items():
        fields = documents.setdefault(key._replace(part=WHOLE), {})
        prefix = field_of(key.part)
        for what, number in counts.items():
            fields[f"{prefix}.{what}"] = number
    return documents
