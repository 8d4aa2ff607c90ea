"""Jobs: one act on all messages that a search finds, worked off page by page.

A job goes through the messages from the newest to the oldest of those that were there when it was
ordered. Where it has come to is written down after each page, and before anything is done with a
message its marker is, with the id that a new message gets: whoever takes the job up after a crash
does nothing a second time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from postroad_common.mail.identifiers import id_at, new_id
from postroad_common.store.access import (
    Collection,
    Document,
    guarded,
    insert_new,
    insert_unknown,
    to_date,
)
from postroad_common.store.audit import Actor

Ending = Literal["done", "skipped", "failed"]
ENDINGS: tuple[Ending, ...] = ("done", "skipped", "failed")


@dataclass(frozen=True, slots=True)
class Marker:
    """One message of a job. `made` is the id of its new message, `ending` None while it is open."""

    message: str
    made: str
    ending: Ending | None = None
    code: str = ""
    reason: str = ""  # for people: why it was not done


@dataclass(frozen=True, slots=True)
class Reason:
    """Why `number` messages were not done."""

    ending: Ending
    code: str
    text: str
    number: int


@dataclass(frozen=True, slots=True)
class BulkJob:
    """An order. Times are Unix seconds; `position` is the id of the last message of it done.

    What it sends is bound to the `sender_domains`, if there are any; of a `test` nothing is sent.
    """

    id: str
    account: str
    actor: Actor
    act: str
    search: Mapping[str, str]
    total: int
    created: float
    position: str
    counts: Mapping[Ending, int] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    note: str = ""  # why it waits
    stopped: bool = False
    finished: float | None = None
    sender_domains: tuple[str, ...] = ()
    test: bool = False

    @property
    def handled(self) -> int:
        """Return how many messages it is through with."""
        return sum(self.counts.values())


class Jobs:
    """The collections `jobs` and `job_messages`.

    Orders, stops and ends are written through `audited`, progress through `jobs`.
    """

    def __init__(self, audited: Collection, jobs: Collection, markers: Collection) -> None:
        self._audited = audited
        self._jobs = jobs
        self._markers = markers

    @guarded
    async def order(
        self,
        job_id: str,
        actor: Actor,
        act: str,
        search: Mapping[str, str],
        *,
        total: int,
        now: float,
        sender_domains: Sequence[str] = (),
        test: bool = False,
    ) -> bool:
        """Have `act` done with what `search` finds of before `now`; False: this id was ordered."""
        document: Document = {
            "_id": job_id,
            "account": actor.account,
            "actor": _write_actor(actor),
            "act": act,
            "search": dict(search),
            "total": total,
            "created": now,
            "position": id_at(now),
            "counts": dict.fromkeys(ENDINGS, 0),
            "reasons": {},
            "note": "",
            "stopped": False,
            "finished": None,
            "sender_domains": list(sender_domains),
            "test": test,
            "lease": 0.0,
            "at": to_date(now),
        }
        return await insert_new(self._audited, document)

    @guarded
    async def find(self, account: str, job_id: str) -> BulkJob | None:
        """Return a job of the account."""
        found = await self._jobs.find_one({"_id": job_id, "account": account})
        return None if found is None else _read(found)

    @guarded
    async def list(self, account: str, *, before: str = "", limit: int = 50) -> list[BulkJob]:
        """Return the jobs of the account, the latest first, those before an id."""
        query: Document = {"account": account, **({"_id": {"$lt": before}} if before else {})}
        cursor = self._jobs.find(query).sort("_id", -1).limit(limit)
        return [_read(found) async for found in cursor]

    @guarded
    async def count_open(self, account: str) -> int:
        """Return how many jobs of the account are not finished."""
        return await self._jobs.count_documents({"account": account, "finished": None})

    @guarded
    async def stop(self, account: str, job_id: str) -> bool:
        """Have the job end where it is; False when there is none that goes on."""
        result = await self._audited.update_one(
            {"_id": job_id, "account": account, "finished": None},
            {"$set": {"stopped": True, "lease": 0.0}},
        )
        return result.matched_count == 1

    @guarded
    async def take(self, now: float, lease_seconds: float) -> BulkJob | None:
        """Lease the job that has waited longest of those nobody works on."""
        found = await self._jobs.find_one_and_update(
            {"finished": None, "lease": {"$lte": now}},
            {"$set": {"lease": now + lease_seconds}},
            sort=[("lease", 1)],
            return_document=True,
        )
        return None if found is None else _read(found)

    @guarded
    async def begin(self, job: BulkJob, messages: Iterable[str], now: float) -> Sequence[Marker]:
        """Mark messages, in their order; those marked before are returned as they were."""
        wanted = list(messages)
        documents: list[Document] = [
            {
                "_id": f"{job.id}/{message}",
                "job": job.id,
                "message": message,
                "made": new_id(now),
                "ending": None,
                "code": "",
                "reason": "",
                "at": to_date(now),
            }
            for message in wanted
        ]
        if not documents:
            return []
        taken = await insert_unknown(self._markers, documents)
        if taken:
            names = [documents[index]["_id"] for index in taken]
            before = {
                found["_id"]: found async for found in self._markers.find({"_id": {"$in": names}})
            }
            documents = [before.get(document["_id"], document) for document in documents]
        return [_read_marker(document) for document in documents]

    @guarded
    async def end(self, job: BulkJob, marker: Marker) -> None:
        """Write down how it ended with a message."""
        await self._markers.update_one(
            {"_id": f"{job.id}/{marker.message}"},
            {"$set": {"ending": marker.ending, "code": marker.code, "reason": marker.reason}},
        )

    @guarded
    async def progress(
        self,
        job: BulkJob,
        markers: Iterable[Marker],
        *,
        lease: float,
        position: str | None = None,
    ) -> None:
        """Count a page whose messages have all ended, once; nobody goes on before `lease`.

        The job goes on before the id `position`, by default that of the last message of the page.
        """
        page = list(markers)
        changes: dict[str, int] = {}
        texts: dict[str, str] = {}
        for marker in page:
            _add(changes, f"counts.{marker.ending}")
            if marker.code:
                name = f"reasons.{marker.ending}_{marker.code}"
                _add(changes, f"{name}.number")
                texts[f"{name}.text"] = marker.reason
        position = position or (page[-1].message if page else job.position)
        update: Document = {"$set": {"position": position, "lease": lease, "note": "", **texts}}
        if changes:
            update["$inc"] = changes
        await self._jobs.update_one({"_id": job.id, "position": job.position}, update)

    @guarded
    async def wait(self, job: BulkJob, note: str, *, until: float) -> None:
        """Let nobody go on before `until`, and say why."""
        await self._jobs.update_one(
            {"_id": job.id, "stopped": False}, {"$set": {"lease": until, "note": note}}
        )

    @guarded
    async def finish(
        self, job: BulkJob, now: float, note: str = "", *, stopped: bool = False
    ) -> None:
        """There is nothing more to do; where it is `stopped`, there would be."""
        found = await self._jobs.find_one({"_id": job.id}, {"counts": 1})
        ended: Document = {"finished": now, "note": note, "result": (found or {}).get("counts")}
        if stopped:
            ended["stopped"] = True
        await self._audited.update_one({"_id": job.id, "finished": None}, {"$set": ended})

    @guarded
    async def markers(
        self, job: BulkJob, ending: Ending, *, before: str = "", limit: int = 50
    ) -> Sequence[Marker]:
        """Return messages of the job that ended so, the newest first, those before an id."""
        query: Document = {"job": job.id, "ending": ending}
        if before:
            query["message"] = {"$lt": before}
        cursor = self._markers.find(query).sort("message", -1).limit(limit)
        return [_read_marker(found) async for found in cursor]


def _add(changes: dict[str, int], name: str) -> None:
    changes[name] = changes.get(name, 0) + 1


def _write_actor(actor: Actor) -> Document:
    return {
        "kind": actor.kind,
        "id": actor.id,
        "account": actor.account,
        "name": actor.name,
        "address": actor.address,
        "request_id": actor.request_id,
    }


def _read_marker(found: Document) -> Marker:
    return Marker(
        message=found["message"],
        made=found["made"],
        ending=found["ending"],
        code=found["code"],
        reason=found["reason"],
    )


def _read(found: Document) -> BulkJob:
    reasons = []
    for name, value in found["reasons"].items():
        ending, _, code = name.partition("_")
        reasons.append(Reason(ending, code, value["text"], value["number"]))
    return BulkJob(
        id=found["_id"],
        account=found["account"],
        actor=Actor(**found["actor"]),
        act=found["act"],
        search=dict(found["search"]),
        total=found["total"],
        created=found["created"],
        position=found["position"],
        counts=dict(found["counts"]),
        reasons=tuple(sorted(reasons, key=lambda reason: -reason.number)),
        note=found["note"],
        stopped=found["stopped"],
        finished=found["finished"],
        sender_domains=tuple(found.get("sender_domains", ())),
        test=found.get("test", False),
    )
