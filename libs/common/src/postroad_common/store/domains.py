"""Sender domains: whether they are verified, and their DKIM keys."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pymongo.errors import DuplicateKeyError

from postroad_common.store.access import Collection, Document, guarded, insert_new

KeyState = Literal["pending", "active", "retired"]


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A signing key: `algorithm` is `rsa` or `ed25519`; `private` is PKCS #8 PEM.

    Only an `active` one signs. A `pending` one waits until its record is seen in DNS, a `retired`
    one has been replaced, and its record stays published until `retires` (Unix seconds).
    """

    selector: str
    algorithm: str
    public: str  # base64, as in the p= tag
    created: float
    private: str = field(repr=False, default="")
    state: KeyState = "active"
    seen: float | None = None  # when its record was first seen
    retires: float | None = None


@dataclass(frozen=True, slots=True)
class SenderDomain:
    """A domain in From addresses of `account`. `checks` maps a DNS record to `ok` or a problem.

    `trusted`: the operator vouches for it, whatever DNS says.
    """

    account: str
    domain: str
    verification: str  # what the ownership TXT record must hold
    verified: bool
    created: float
    keys: tuple[DkimKey, ...] = ()
    checks: dict[str, str] = field(default_factory=dict)
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by the record that is not ok
    checked: float | None = None
    due: float | None = None  # when it is checked the next time
    tracking_host: str | None = None  # a CNAME of the tracker's host, used once it is verified
    bounce_host: str | None = None  # host of envelope addresses; None: the usual one below it
    dmarc_reports: str | None = None  # address for DMARC reports; None: the usual one
    trusted: bool = False

    @property
    def return_path(self) -> str:
        """Return the host of envelope addresses, used while `uses_return_path`."""
        return self.bounce_host or f"bounces.{self.domain}"

    @property
    def uses_return_path(self) -> bool:
        """Whether mail of the domain has envelope addresses at `return_path`."""
        return self.verified and self.checks.get(RETURN_PATH) == "ok"


RETURN_PATH = "return-path"
"""The key in `checks` of the MX record of the domain's own bounce host."""


class DomainTakenError(Exception):
    """Another account has verified the domain."""


def _read(found: Document) -> SenderDomain:
    return SenderDomain(
        account=found["account"],
        domain=found["domain"],
        verification=found["verification"],
        verified=found["verified"],
        created=found["created"],
        keys=tuple(DkimKey(**key) for key in found["keys"]),
        checks=dict(found.get("checks", {})),
        found={key: tuple(texts) for key, texts in found.get("found", {}).items()},
        due=found.get("due"),
        checked=found.get("checked"),
        tracking_host=found.get("tracking_host"),
        bounce_host=found.get("bounce_host"),
        dmarc_reports=found.get("dmarc_reports"),
        trusted=found.get("trusted", False),
    )


def _key(account: str, domain: str) -> str:
    return f"{account}/{domain}"


class Domains:
    """The collection `domains`."""

    def __init__(self, collection: Collection) -> None:
        self._domains = collection

    @guarded
    async def create(
        self,
        account: str,
        domain: str,
        verification: str,
        keys: Iterable[DkimKey],
        *,
        trusted: bool = False,
    ) -> SenderDomain | None:
        """Add a domain, verified at once if it is `trusted`; None when it is there already.

        Raises:
            DomainTakenError: it is trusted here, and another account has verified it.
        """
        document: Document = {
            "_id": _key(account, domain),
            "account": account,
            "domain": domain,
            "verification": verification,
            "verified": trusted,
            "trusted": trusted,
            "created": time.time(),
            "keys": [_dump(key) for key in keys],
            "due": 0.0,
        }
        if not trusted:
            return _read(document) if await insert_new(self._domains, document) else None
        if await self._domains.find_one({"_id": document["_id"]}) is not None:
            return None
        if not await insert_new(self._domains, {**document, "held": domain}):
            raise DomainTakenError(domain)
        return _read(document)

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
    async def verified(self, account: str) -> frozenset[str]:
        """Return the names of the domains that the account has verified."""
        cursor = self._domains.find({"account": account, "verified": True}, {"domain": 1})
        return frozenset([found["domain"] async for found in cursor.limit(1000)])

    @guarded
    async def holder(self, domain: str) -> SenderDomain | None:
        """Return the domain as the account has it that has verified it."""
        found = await self._domains.find_one({"domain": domain, "verified": True})
        return None if found is None else _read(found)

    @guarded
    async def release(self, account: str, domain: str) -> None:
        """Take the verification away from an account whose records are gone."""
        await self._domains.update_one(
            {"_id": _key(account, domain)}, {"$set": {"verified": False}, "$unset": {"held": ""}}
        )

    @guarded
    async def claim_due(self, now: float, patience: float) -> SenderDomain | None:
        """Return a domain that is to be checked; nobody else gets it within `patience` seconds."""
        found = await self._domains.find_one_and_update(
            {"due": {"$not": {"$gt": now}}},
            {"$set": {"due": now + patience}},
            return_document=True,
        )
        return None if found is None else _read(found)

    @guarded
    async def set_checks(
        self,
        domain: SenderDomain,
        checks: Mapping[str, str],
        *,
        verified: bool,
        keys: Iterable[DkimKey],
        due: float,
        found: Mapping[str, Sequence[str]] | None = None,
    ) -> SenderDomain | None:
        """Record what DNS said, the keys that follow from it, and when to ask again.

        A domain once verified stays so. Nothing is recorded where the keys have changed since the
        domain was read: None, as when it is gone.

        Raises:
            DomainTakenError: it is verified, and another account has verified it before.
        """
        name = domain.domain
        update: Document = {
            "checks": dict(checks),
            "found": {key: list(texts) for key, texts in (found or {}).items()},
            "checked": time.time(),
            "keys": [_dump(key) for key in keys],
            "due": due,
        }
        if verified or domain.verified:
            update |= {"verified": True, "held": name}
        query = {
            "_id": _key(domain.account, name),
            "keys.selector": {"$all": [key.selector for key in domain.keys]},
            "keys": {"$size": len(domain.keys)},
        }
        if not domain.keys:
            del query["keys.selector"]
        try:
            changed = await self._domains.find_one_and_update(
                query, {"$set": update}, return_document=True
            )
        except DuplicateKeyError:
            raise DomainTakenError(name) from None
        return None if changed is None else _read(changed)

    @guarded
    async def set_keys(
        self, account: str, domain: str, keys: Iterable[DkimKey]
    ) -> SenderDomain | None:
        """Replace the DKIM keys; they are looked for in DNS soon."""
        return await self._set(account, domain, {"keys": [_dump(key) for key in keys], "due": 0.0})

    @guarded
    async def set_hosts(
        self, account: str, domain: str, changes: Mapping[str, str | None]
    ) -> SenderDomain | None:
        """Change `tracking_host`, `bounce_host` or `dmarc_reports`; None for the usual one."""
        unknown = set(changes) - {"tracking_host", "bounce_host", "dmarc_reports"}
        if unknown:
            raise ValueError(f"not changeable: {sorted(unknown)}")
        return await self._set(account, domain, {**changes, "due": 0.0})

    async def _set(
        self, account: str, domain: str, values: Mapping[str, Any]
    ) -> SenderDomain | None:
        found = await self._domains.find_one_and_update(
            {"_id": _key(account, domain)}, {"$set": dict(values)}, return_document=True
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
        "state": key.state,
        "seen": key.seen,
        "retires": key.retires,
    }
