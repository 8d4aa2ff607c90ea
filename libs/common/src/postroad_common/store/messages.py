"""One record per message and recipient: what it is, and how far it has come.

Only feedback writes it, from events, in any order and however often (`recordchanges`).
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pymongo import UpdateOne
from pymongo.errors import OperationFailure

from postroad_common.caching import Cache
from postroad_common.mail.identifiers import TIME_CHARS, id_at, id_time, is_id
from postroad_common.mail.messageid import dated, hash_of
from postroad_common.schemas.events import OWN_MAIL, Event
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import BodyReference
from postroad_common.store.access import Collection, Document, guarded, insert_unknown
from postroad_common.store.indexes import RETENTION
from postroad_common.store.recordchanges import FACTS, RecordChange, changes_by
from postroad_common.store.searching import (
    BY_SOURCE,
    BY_STATE,
    HANDED_IN,
    RANKS,
    AccessPath,
    Criteria,
)
from postroad_common.store.slices import lacks_index, slices

__all__ = ["FACTS", "HANDED_IN", "RANKS", "Criteria", "MessageRecord", "Messages"]

_STATES = {rank: state for state, rank in RANKS.items()}
EVERYTHING = Criteria()
_REMEMBERED = 20_000
"""Records whose facts this process has written lately: it does not write them again."""
LOOK_SECONDS = 0.1
"""A search that takes longer tells how far it is."""
TOGETHER = 2.0
"""Seconds within which the messages of one submission get their ids."""
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message to one recipient. Times are Unix seconds."""

    id: str
    account: str
    submission: str
    credential: str
    source: str
    envelope: str
    recipient: str
    subject: str
    tags: tuple[str, ...]
    features: Features
    forward_bounces: bool
    notify: tuple[str, ...]
    orcpt: str | None
    ret: str | None
    envid: str | None
    size: int
    state: str
    attempts: int
    opens: int
    clicks: int
    created: float
    updated: float
    expires: float = 0.0
    metadata: Mapping[str, str] = field(default_factory=dict)
    list: str = ""  # what its recipient unsubscribes from
    template: str = ""
    traceparent: str = ""
    test: bool = False  # it was not sent
    complained: bool = False  # its recipient called it spam
    sender: str = ""  # the address in From
    provider: str = ""  # who runs the servers that took it
    body: BodyReference | None = None  # where the content is kept; inline bodies are not


@dataclass(frozen=True, slots=True)
class Look:
    """What a search has found, and the id before which it goes on; None where that is all."""

    records: list[MessageRecord]
    position: str | None


@dataclass(frozen=True, slots=True)
class Counted:
    """A number of messages; where it is not the `whole`, there may be more."""

    number: int
    whole: bool


def _read(found: Document) -> MessageRecord:
    return MessageRecord(
        id=found["_id"],
        account=found.get("account", ""),
        submission=found.get("submission", ""),
        credential=found.get("credential", ""),
        source=found.get("source", ""),
        envelope=found.get("envelope", ""),
        recipient=found.get("recipient", ""),
        subject=found.get("subject", ""),
        tags=tuple(found.get("tags") or ()),
        features=Features.model_validate(found.get("features") or {}),
        forward_bounces=found.get("forward_bounces", False),
        notify=tuple(found.get("notify") or ()),
        orcpt=found.get("orcpt"),
        ret=found.get("ret"),
        envid=found.get("envid"),
        size=found.get("size", 0),
        state=_STATES.get(found.get("rank", 10), "accepted"),
        attempts=found.get("attempts", 0),
        opens=found.get("opens", 0),
        clicks=found.get("clicks", 0),
        created=found.get("created", 0.0),
        updated=found.get("updated", 0.0),
        expires=found.get("expires", 0.0),
        metadata=found.get("metadata") or {},
        list=found.get("list", ""),
        template=found.get("template", ""),
        traceparent=found.get("traceparent", ""),
        test=found.get("test", False),
        complained=found.get("complained", False),
        sender=found.get("sender", ""),
        provider=found.get("provider", ""),
        body=BodyReference.model_validate(found["body"]) if found.get("body") else None,
    )


class Messages:
    """The collection `messages`, by message id."""

    def __init__(self, collection: Collection, *, look_seconds: float = LOOK_SECONDS) -> None:
        self.look_seconds = look_seconds
        self._messages = collection
        self._written: Cache[str, float] = Cache(_REMEMBERED)  # when the message expires

    @guarded
    async def apply(self, events: Iterable[Event]) -> None:
        """Bring the records up to date with `events`.

        New records are inserted, all at once: to MongoDB an insertion is a third of the work of an
        update that makes a record, or of one that repeats its facts.
        """
        changes = changes_by(events)
        new = [
            message_id
            for message_id, change in changes.items()
            if change.facts and message_id not in self._written
        ]
        known, _ = await asyncio.gather(
            self._insert({message_id: changes[message_id] for message_id in new}),
            self._update({key: changes[key] for key in changes.keys() - set(new)}),
        )
        await self._update({message_id: changes[message_id] for message_id in known})
        for message_id, change in changes.items():
            if change.facts:
                self._written.put(message_id, change.facts.get("expires", 0.0))

    async def _insert(self, changes: Mapping[str, RecordChange]) -> list[str]:
        """Insert new records; return the ids of those that are no news."""
        if not changes:
            return []
        documents = [change.document(message_id) for message_id, change in changes.items()]
        known = await insert_unknown(self._messages, documents)
        return [message_id for index, message_id in enumerate(changes) if index in known]

    def _is_news(self, message_id: str, change: RecordChange) -> bool:
        """Whether the record may lack the facts; mail for later that was moved expires later."""
        written = self._written.get(message_id)
        return written is None or written != change.facts.get("expires", written)

    async def _update(self, changes: Mapping[str, RecordChange]) -> None:
        if changes:
            await self._messages.bulk_write(
                [
                    change.operation(message_id, with_facts=self._is_news(message_id, change))
                    for message_id, change in changes.items()
                ],
                ordered=False,
            )

    @guarded
    async def count_reactions(
        self, counts: Mapping[str, tuple[int, int]], updated: Mapping[str, float] | None = None
    ) -> None:
        """Raise the numbers of openings and clicks of messages to `(opens, clicks)`.

        `updated`: when, by message id (Unix seconds), where that is to be noted as well.
        """
        moments = updated or {}
        if counts:
            await self._messages.bulk_write(
                [
                    UpdateOne(
                        {"_id": message_id},
                        {
                            "$max": {"opens": opens, "clicks": clicks}
                            | ({"updated": moments[message_id]} if message_id in moments else {})
                        },
                    )
                    for message_id, (opens, clicks) in counts.items()
                ],
                ordered=False,
            )

    @guarded
    async def get(self, account: str, message_id: str) -> MessageRecord | None:
        """One record of `account`, once it is complete: it may begin with a later event."""
        found = await self._messages.find_one(
            {"_id": message_id, "account": account, "source": {"$exists": True}}
        )
        return None if found is None else _read(found)

    @guarded
    async def find_many(self, message_ids: Iterable[str]) -> dict[str, MessageRecord]:
        """Return the records that exist of those with these ids, of any account."""
        ids = list(message_ids)
        if not ids:
            return {}
        cursor = self._messages.find({"_id": {"$in": ids}, "account": {"$exists": True}})
        return {found["_id"]: _read(found) async for found in cursor}

    @guarded
    async def find_submissions(
        self, submission_ids: Iterable[str]
    ) -> dict[str, list[MessageRecord]]:
        """Return the complete records of submissions, of any account: 100 of each at most.

        A message has the time of its submission in its id, or a moment later: that is what the
        index finds it by.
        """
        found: dict[str, list[MessageRecord]] = {}
        for submission in filter(is_id, set(submission_ids)):
            cursor = self._messages.find(
                {
                    "_id": {
                        "$gte": submission[:TIME_CHARS],
                        "$lt": id_at(id_time(submission) + TOGETHER),
                    },
                    "submission": submission,
                    "recipient": {"$exists": True},
                }
            )
            found[submission] = [_read(document) async for document in cursor.limit(100)]
        return found

    @guarded
    async def oldest(self, account: str, states: Iterable[str]) -> MessageRecord | None:
        """Return the oldest message of `account` in one of the states, which are not the usual."""
        found = await asyncio.gather(
            *(
                self._messages.find_one(
                    {"account": account, "rank": RANKS[state], "source": {"$in": list(HANDED_IN)}},
                    sort=[("_id", 1)],
                )
                for state in states
            )
        )
        ids = {document["_id"]: document for document in found if document}
        return _read(ids[min(ids)]) if ids else None

    @guarded
    async def senders(self, account: str, limit: int) -> list[str]:
        """Return the From addresses of the newest `limit` messages, where they have one."""
        cursor = self._messages.find({"account": account}, {"sender": 1, "source": 1})
        newest = cursor.sort("_id", -1).limit(limit)
        return [
            found["sender"]
            async for found in newest
            if found.get("sender") and found.get("source") in HANDED_IN
        ]

    @guarded
    async def find_by_message_id(
        self, message_ids: Iterable[str], now: float
    ) -> dict[str, list[MessageRecord]]:
        """Return the records of mail whose client gave it one of these Message-IDs.

        Of any account, 100 for each at most, as long as records are kept before `now`.
        """
        found: dict[str, list[MessageRecord]] = {}
        for message_id in set(message_ids):
            if hashed := hash_of(message_id):
                days = [dated(hashed, now - age) for age in range(-_DAY, RETENTION + _DAY, _DAY)]
                query: Document = {"message_id": {"$in": days}, "recipient": {"$exists": True}}
                cursor = self._messages.find(query).limit(100)
                found[message_id] = [_read(document) async for document in cursor]
        return found

    async def search(
        self,
        account: str,
        criteria: Criteria = EVERYTHING,
        *,
        before: str | None = None,
        limit: int = 50,
    ) -> list[MessageRecord]:
        """Return records of `account`, newest first; `before` is the last id of the page before.

        A record is found as soon as it is complete. It takes as long as it needs, which is long for
        what is rare of things that are each frequent: see `look`.
        """
        found = await self._look(account, criteria, before, limit, None)
        return found.records

    async def look(
        self,
        account: str,
        criteria: Criteria = EVERYTHING,
        *,
        before: str | None = None,
        limit: int = 50,
    ) -> Look:
        """Return the same as far as it is found in the time of a search, and how far that is."""
        return await self._look(account, criteria, before, limit, self.look_seconds)

    @guarded
    async def _look(
        self,
        account: str,
        criteria: Criteria,
        before: str | None,
        limit: int,
        seconds: float | None,
    ) -> Look:
        found: list[MessageRecord] = []
        position: str | None = None
        async for piece in slices(
            self._messages, account, criteria, before=before, seconds=seconds
        ):
            cursor = self._messages.find(piece.query, hint=piece.index).sort("_id", -1)
            found += [_read(document) async for document in cursor.limit(limit - len(found))]
            if len(found) >= limit:
                return Look(found, found[-1].id)
            position = piece.position
        return Look(found, position)

    @guarded
    async def count(
        self,
        account: str,
        criteria: Criteria,
        *,
        most: int,
        before: str | None = None,
        seconds: float | None = None,
    ) -> Counted:
        """Return how many records a search finds, as far as they are counted within `seconds`.

        Of more than `most` it is `most`. With `before`, of those before that id.
        """
        if path := criteria.counting_path(account):
            try:
                return await self._count_by_index(path, criteria, most, before)
            except OperationFailure as error:
                if not lacks_index(error):
                    raise
        number, position = 0, None
        async for piece in slices(
            self._messages, account, criteria, before=before, seconds=seconds
        ):
            hint: Document = {} if piece.index is None else {"hint": piece.index}
            number += await self._messages.count_documents(piece.query, limit=most - number, **hint)
            if number >= most:
                return Counted(most, whole=True)
            position = piece.position
        return Counted(number, whole=position is None)

    async def _count_by_index(
        self, path: AccessPath, criteria: Criteria, most: int, before: str | None
    ) -> Counted:
        """Count entries of an index; read only mail of our own, which is few and does not count."""
        span = criteria.span(before)
        query = {**path.query, **({"_id": span} if span else {})}
        own = 0
        if path.index == BY_STATE:
            query["source"] = {"$in": list(criteria.sources)}
        else:
            ours: Document = {**query, "source": {"$in": list(OWN_MAIL)}}
            own = await self._messages.count_documents(ours, hint=BY_SOURCE)
        number = await self._messages.count_documents(query, hint=path.index, limit=most + own)
        return Counted(min(most, number - own), whole=True)
