"""Searches in slices: whatever is searched for, each reads a bounded number of messages.

Something rare is found at once by its index. Of things that are each frequent and rare together
nobody knows where the next is, so a search reads those that have the rarest of them, in slices: an
index says where a slice of so many messages ends without reading them. Where a search stops for its
time, it says how far back it has looked, and goes on from there.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from pymongo.errors import OperationFailure

from postroad_common.store.access import Collection, Document
from postroad_common.store.searching import AccessPath, Criteria, IndexKeys

FIRST_SLICE = 500
LARGEST_SLICE = 20_000
_GROWTH = 16
_BAD_VALUE = 2
_WORTH_IT = 100  # a smaller slice is not begun for the time that is left


@dataclass(frozen=True, slots=True)
class Slice:
    """A query that reads a bounded number of messages, all of them by `index`.

    The search goes on before the id `position`; where it is None, this is the last slice.
    """

    query: Document
    index: IndexKeys | None
    position: str | None


async def slices(
    messages: Collection,
    account: str,
    criteria: Criteria,
    *,
    before: str | None,
    seconds: float | None,
) -> AsyncIterator[Slice]:
    """Yield the slices of a search, newest first, until about `seconds` are over.

    There is one at least. What the caller does with a slice is part of its time.
    """
    paths = list(criteria.access_paths(account))
    end = None if seconds is None else time.monotonic() + seconds
    size = FIRST_SLICE
    while True:
        started = time.monotonic()
        span = criteria.span(before)
        path, position = await _rarest(messages, paths, span)
        if position is not None and size > FIRST_SLICE:
            position = await _last(messages, path, span, size)
        query = criteria.query(account, before, path)
        if position is not None:
            query["_id"] = {**query.get("_id", {}), "$gte": position}
        yield Slice(query, path.index, position)
        if position is None:
            return
        before = position
        now = time.monotonic()
        left = LARGEST_SLICE if end is None else int(size * (end - now) / max(now - started, 1e-6))
        if left < _WORTH_IT:
            return
        size = min(left, size * _GROWTH, LARGEST_SLICE)


def lacks_index(error: OperationFailure) -> bool:
    """Tell whether a query names an index that is not made yet: its service is not upgraded."""
    return error.code == _BAD_VALUE and "hint" in str(error)


async def _rarest(
    messages: Collection, paths: list[AccessPath], span: Document
) -> tuple[AccessPath, str | None]:
    """Return the path whose next messages reach furthest back, and the id of the last of them.

    The id is None where it has no more than `FIRST_SLICE`. A path whose index is not made yet loses
    it.
    """
    found: list[tuple[str, AccessPath]] = []
    for number, path in enumerate(paths):
        try:
            last = await _last(messages, path, span, FIRST_SLICE)
        except OperationFailure as error:
            if not lacks_index(error):
                raise
            paths[number] = path = replace(path, index=None)  # noqa: PLW2901 - the same, without it
            last = await _last(messages, path, span, FIRST_SLICE)
        if last is None:
            return path, None
        found.append((last, path))
    position, path = min(found, key=lambda each: each[0])
    return path, position


async def _last(messages: Collection, path: AccessPath, span: Document, size: int) -> str | None:
    """Return the id of the last of the next `size` messages of a path; None if there are fewer."""
    query = {**path.query, **({"_id": span} if span else {})}
    cursor = messages.find(query, {"_id": 1}, hint=path.index).sort("_id", -1)
    async for document in cursor.skip(size - 1).limit(1):
        return str(document["_id"])
    return None
