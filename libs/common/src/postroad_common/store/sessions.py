"""Sessions of the dashboard: what is kept on the server of each, by the hash of its secret."""

from dataclasses import dataclass

from postroad_common.store.access import Collection, Document, guarded, to_date


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """Someone who is logged in. `id` is the hash of the secret in the cookie; times are Unix.

    `account` is the one that is looked at: an operator may look at another than their own.
    `version` is that of the user's password when the session began. `id_token` is what the identity
    provider said of the user, empty where that is too long to keep; None: they logged in here.
    """

    id: str
    email: str
    account: str
    version: int
    created: float
    ends: float
    seen: float
    address: str = ""
    agent: str = ""
    id_token: str | None = None


def _read(found: Document) -> SessionRecord:
    return SessionRecord(
        id=found["_id"],
        email=found["email"],
        account=found["account"],
        version=found["version"],
        created=found["created"],
        ends=found["ends"],
        seen=found["seen"],
        address=found["address"],
        agent=found["agent"],
        id_token=found.get("id_token"),
    )


class SessionRecords:
    """The collection `sessions`."""

    def __init__(self, collection: Collection) -> None:
        self._sessions = collection

    @guarded
    async def create(self, session: SessionRecord) -> None:
        """Add a session."""
        await self._sessions.insert_one(
            {
                "_id": session.id,
                "email": session.email,
                "account": session.account,
                "version": session.version,
                "created": session.created,
                "ends": session.ends,
                "seen": session.seen,
                "address": session.address,
                "agent": session.agent,
                "at": to_date(session.ends),
                **({} if session.id_token is None else {"id_token": session.id_token}),
            }
        )

    @guarded
    async def find(self, session_id: str) -> SessionRecord | None:
        """Return the session with this id."""
        found = await self._sessions.find_one({"_id": session_id})
        return None if found is None else _read(found)

    @guarded
    async def touch(self, session_id: str, now: float, address: str) -> None:
        """Note that the session was used."""
        await self._sessions.update_one(
            {"_id": session_id}, {"$set": {"seen": now, "address": address}}
        )

    @guarded
    async def look_at(self, session_id: str, account: str) -> None:
        """Let the session look at another account."""
        await self._sessions.update_one({"_id": session_id}, {"$set": {"account": account}})

    @guarded
    async def list(self, email: str) -> list[SessionRecord]:
        """Return the sessions of a user, the one used last first."""
        cursor = self._sessions.find({"email": email}).sort("seen", -1).limit(200)
        return [_read(found) async for found in cursor]

    @guarded
    async def end(self, email: str, session_id: str) -> bool:
        """End one session of a user; False when there is none."""
        result = await self._sessions.delete_one({"_id": session_id, "email": email})
        return result.deleted_count == 1

    @guarded
    async def end_all(self, email: str, *, but: str | None = None) -> int:
        """End the sessions of a user, all but one if that is named; return their number."""
        query: Document = {"email": email}
        if but is not None:
            query["_id"] = {"$ne": but}
        result = await self._sessions.delete_many(query)
        return result.deleted_count
