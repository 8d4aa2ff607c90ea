"""Sender domains: whether they are verified, and their DKIM keys."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from postroad_common.store.access import Collection, Document, guarded, insert_new


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A signing key: `algorithm` is `rsa` or `ed25519`; `private` is PKCS #8 PEM."""

    selector: str
    algorithm: str
    public: str  # base64, as in the p= tag
    created: float
    private: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class SenderDomain:
    """A domain in From addresses of `account`. `checks` maps a DNS record to `ok` or a problem."""

    account: str
    domain: str
    verification: str  # what the ownership TXT record must hold
    verified: bool
    created: float
    keys: tuple[DkimKey, ...] = ()
    checks: dict[str, str] = field(default_factory=dict)
    checked: float | None = None
    tracking_host: str | None = None  # a CNAME of the tracker's host, used once it is verified


def _read(found: Document) -> SenderDomain:
    return SenderDomain(
        account=found["account"],
        domain=found["domain"],
        verification=found["verification"],
        verified=found["verified"],
        created=found["created"],
        keys=tuple(DkimKey(**key) for key in found["keys"]),
        checks=dict(found.get("checks", {})),
        checked=found.get("checked"),
        tracking_host=found.get("tracking_host"),
    )


def _key(account: str, domain: str) -> str:
    return f"{account}/{domain}"


class Domains:
    """The collection `domains`."""

    def __init__(self, collection: Collection) -> None:
        self._domains = collection

    @guarded
    async def create(
        self, account: str, domain: str, verification: str, keys: Iterable[DkimKey]
    ) -> SenderDomain | None:
        """Add a domain; None when the account has it already."""
        document: Document = {
            "_id": _key(account, domain),
            "account": account,
            "domain": domain,
            "verification": verification,
            "verified": False,
            "created": time.time(),
            "keys": [_dump(key) for key in keys],
        }
        return _read(document) if await insert_new(self._domains, document) else None

    @guarded
    async def find(self, account: str, domain: str) -> SenderDomain | None:
        """Return the domain, with its private keys."""
        found = await self._domains.find_one({"_id": _key(account, domain)})
        return None if found is None else _read(found)

    @guarded
    async def find_many(
        self, pairs: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], SenderDomain]:
        """Return the domains that exist of these (account, domain) pairs."""
        cursor = self._domains.find({"_id": {"$in": [_key(*pair) for pair in pairs]}})
        return {(found["account"], found["domain"]): _read(found) async for found in cursor}

    @guarded
    async def list(self, account: str) -> list[SenderDomain]:
        """All domains of `account`, in the order of their names."""
        cursor = self._domains.find({"account": account}).sort("domain", 1).limit(1000)
        return [_read(found) async for found in cursor]

    @guarded
    async def set_checks(
        self, account: str, domain: str, checks: dict[str, str], *, verified: bool
    ) -> SenderDomain | None:
        """Record what DNS said; a domain once verified stays so."""
        update: Document = {"checks": checks, "checked": time.time()}
        if verified:
            update["verified"] = True
        found = await self._domains.find_one_and_update(
            {"_id": _key(account, domain)}, {"$set": update}, return_document=True
        )
        return None if found is None else _read(found)

    @guarded
    async def set_keys(
        self, account: str, domain: str, keys: Iterable[DkimKey]
    ) -> SenderDomain | None:
        """Replace the DKIM keys."""
        found = await self._domains.find_one_and_update(
            {"_id": _key(account, domain)},
            {"$set": {"keys": [_dump(key) for key in keys]}},
            return_document=True,
        )
        return None if found is None else _read(found)

    @guarded
    async def set_tracking_host(
        self, account: str, domain: str, host: str | None
    ) -> SenderDomain | None:
        """Track the domain's mail by way of `host`, a lower-case name; None for the common one."""
        found = await self._domains.find_one_and_update(
            {"_id": _key(account, domain)},
            {"$set": {"tracking_host": host}},
            return_document=True,
        )
        return None if found is None else _read(found)

    @guarded
    async def delete(self, account: str, domain: str) -> bool:
        """Remove the domain and its keys; False when there is none."""
        result = await self._domains.delete_one({"_id": _key(account, domain)})
        return result.deleted_count == 1


def _dump(key: DkimKey) -> Document:
    return {
        "selector": key.selector,
        "algorithm": key.algorithm,
        "public": key.public,
        "created": key.created,
        "private": key.private,
    }
