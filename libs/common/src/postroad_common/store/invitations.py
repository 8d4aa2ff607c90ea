"""Links that work once: invitations to an account, and links to set a new password."""

from dataclasses import dataclass
from typing import Literal

from postroad_common.store.access import Collection, Document, guarded, to_date

Kind = Literal["invitation", "reset"]


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link for `email`. `id` is the hash of its secret; times are Unix seconds."""

    id: str
    kind: Kind
    email: str
    account: str
    role: str
    created: float
    ends: float


def _read(found: Document) -> Invitation:
    return Invitation(
        id=found["_id"],
        kind=found["kind"],
        email=found["email"],
        account=found["account"],
        role=found["role"],
        created=found["created"],
        ends=found["ends"],
    )


class Invitations:
    """The collection `invitations`."""

    def __init__(self, collection: Collection) -> None:
        self._invitations = collection

    @guarded
    async def create(self, link: Invitation) -> None:
        """Add a link; earlier ones of its kind for the same address no longer work."""
        await self._invitations.delete_many(
            {"email": link.email, "kind": link.kind, "account": link.account}
        )
        await self._invitations.insert_one(
            {
                "_id": link.id,
                "kind": link.kind,
                "email": link.email,
                "account": link.account,
                "role": link.role,
                "created": link.created,
                "ends": link.ends,
                "at": to_date(link.ends),
            }
        )

    @guarded
    async def find(self, link_id: str, now: float) -> Invitation | None:
        """Return the link if it still works at `now`."""
        found = await self._invitations.find_one({"_id": link_id, "ends": {"$gt": now}})
        return None if found is None else _read(found)

    @guarded
    async def use(self, link_id: str, now: float) -> Invitation | None:
        """Use the link up; None when it does not work at `now`, or somebody was faster."""
        found = await self._invitations.find_one_and_delete({"_id": link_id, "ends": {"$gt": now}})
        return None if found is None else _read(found)

    @guarded
    async def use_for(self, email: str, now: float) -> Invitation | None:
        """Use the latest invitation of the address up; None when none works at `now`."""
        found = await self._invitations.find_one_and_delete(
            {"email": email.lower(), "kind": "invitation", "ends": {"$gt": now}},
            sort=[("created", -1)],
        )
        return None if found is None else _read(found)

    @guarded
    async def list(self, account: str) -> list[Invitation]:
        """Return the open invitations to `account`."""
        query = {"account": account, "kind": "invitation"}
        cursor = self._invitations.find(query).sort("created", 1).limit(1000)
        return [_read(found) async for found in cursor]

    @guarded
    async def withdraw(self, account: str, email: str) -> bool:
        """Withdraw the invitation of an address; False when there is none."""
        result = await self._invitations.delete_many(
            {"account": account, "email": email.lower(), "kind": "invitation"}
        )
        return result.deleted_count > 0

    @guarded
    async def withdraw_resets(self, email: str) -> None:
        """Make every link that sets a new password for the address useless."""
        await self._invitations.delete_many({"email": email.lower(), "kind": "reset"})
