"""`/v1/domain`, `/v1/dns`, `/v1/dkimkey`, `/v1/spf`: domains as the original service names them.

What they do, and the richer shapes, are at `/v1/domains` (`api.domains`).
"""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from postroad_common.store.domains import DkimKey, SenderDomain
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import AccountsOf, DomainsOf
from postroad_ingress_http.domains.dnsrecords import reports_address
from postroad_ingress_http.domains.senderdomains import CheckedRecord
from postroad_ingress_http.http.errors import ApiError, not_found

router = APIRouter(prefix="/v1", tags=["original"], responses=REFUSALS)
Reader = Annotated[Token, needs("domains:read")]
Writer = Annotated[Token, needs("domains")]
_KINDS = {"ownership": "validation", "return-path": "mx"}
_PARTS = ("publickey", "algorithm", "selector")


class OriginalDomain(BaseModel):
    """A domain: whether it is verified, its hosts for bounces and links, and who gets reports."""

    name: str
    approved: bool
    bounces: str
    tracking: str | None
    addresses: list[str]


class OriginalRecord(BaseModel):
    """A DNS record to publish."""

    name: str
    type: str
    value: str


class OriginalKey(BaseModel):
    """A DKIM key; the private part is never given out."""

    domain: str
    selector: str
    hostname: str
    algorithm: str
    public: str
    created: float


def _view(domain: SenderDomain) -> OriginalDomain:
    return OriginalDomain(
        name=domain.domain,
        approved=domain.verified,
        bounces=domain.return_path,
        tracking=domain.tracking_host,
        addresses=[reports_address(domain)],
    )


def _record(checked: CheckedRecord) -> OriginalRecord:
    record = checked.record
    value = record.value if record.priority is None else f"{record.priority} {record.value}"
    return OriginalRecord(name=record.name, type=record.type, value=value)


def _keys(domain: SenderDomain) -> list[OriginalKey]:
    return [
        OriginalKey(
            domain=domain.domain,
            selector=key.selector,
            hostname=f"{key.selector}._domainkey.{domain.domain}",
            algorithm=key.algorithm,
            public=key.public,
            created=key.created,
        )
        for key in domain.keys
    ]


@router.get("/domain/{name}", summary="One domain, as the original shows it")
async def domain(name: str, token: Reader, domains: DomainsOf) -> OriginalDomain:
    """See `/v1/domains/{domain}`."""
    return _view(await domains.find(token.account, name))


@router.post("/domain/{name}", summary="Add a domain, or check it")
async def add(
    name: str, token: Writer, domains: DomainsOf, accounts: AccountsOf
) -> OriginalRecord | OriginalDomain:
    """Answer the first call with the record that proves the domain, further ones with its state."""
    try:
        await accounts.check_room(token.account, "domains")
        made = await domains.add(token.account, name)
    except ApiError as error:
        if error.status != 409:
            raise
        checked, _ = await domains.verify(token.account, name)
        return _view(checked)
    return _record(_ownership(domains.records(made)))


def _ownership(records: Sequence[CheckedRecord]) -> CheckedRecord:
    return next(one for one in records if one.record.key == "ownership")


@router.delete("/domain/{name}", status_code=204, summary="Remove a domain")
async def delete(name: str, token: Writer, domains: DomainsOf) -> None:
    """Its keys are deleted with it."""
    await domains.delete(token.account, name)


@router.get("/dns/{name}/recommended", summary="DNS records to publish")
@router.get("/dns/{name}/selfhosted", name="selfhosted", summary="DNS records to publish")
async def recommended(name: str, token: Reader, domains: DomainsOf) -> list[OriginalRecord]:
    """Return those that `/v1/domains/{domain}` lists; all have direct values."""
    return [_record(one) for one in domains.records(await domains.find(token.account, name))]


@router.get("/dns/{name}/status", summary="What is right and wrong in DNS")
async def status(name: str, token: Reader, domains: DomainsOf) -> dict[str, str]:
    """Return `ok` or `error` by kind of record, as the last check found them."""
    found: dict[str, str] = {}
    for one in domains.records(await domains.find(token.account, name)):
        if not one.record.needed:
            continue
        kind = one.record.key.split(" ")[0]
        kind = _KINDS.get(kind, kind)
        good = one.status == "ok" and found.get(kind, "ok") == "ok"
        found[kind] = "ok" if good else "error"
    return found


@router.get("/dkimkeys", summary="All DKIM keys")
async def all_keys(token: Reader, domains: DomainsOf) -> list[OriginalKey]:
    """Return the keys of all domains."""
    return [key for one in await domains.all(token.account) for key in _keys(one)]


@router.get("/dkimkeys/{name}", summary="DKIM keys of a domain")
async def keys(name: str, token: Reader, domains: DomainsOf) -> list[OriginalKey]:
    """Return its keys."""
    return _keys(await domains.find(token.account, name))


@router.get("/dkimkeys/{name}/{selector}", summary="One DKIM key of a domain")
async def key_by_selector(
    name: str, selector: str, token: Reader, domains: DomainsOf
) -> list[OriginalKey]:
    """Return the key in a list of one."""
    found = _keys(await domains.find(token.account, name))
    chosen = [one for one in found if one.selector == selector.lower()]
    if not chosen:
        raise not_found("key")
    return chosen


@router.get("/dkimkey/{name}", summary="The DKIM key of a domain")
async def key(name: str, token: Reader, domains: DomainsOf) -> dict[str, str]:
    """Return the first of its keys."""
    first = _first_key(await domains.find(token.account, name))
    return {"selector": first.selector, "algorithm": first.algorithm, "public": first.public}


@router.get(
    "/dkimkey/{name}/{part}", summary="A part of a DKIM key", response_class=PlainTextResponse
)
async def part_of_key(name: str, part: str, token: Reader, domains: DomainsOf) -> Response:
    """Return `publickey`, `algorithm` or `selector` as text."""
    if part not in _PARTS:
        raise ApiError(404, f"A key has {', '.join(_PARTS)}.")
    first = _first_key(await domains.find(token.account, name))
    parts: dict[str, Any] = {
        "publickey": first.public, "algorithm": first.algorithm, "selector": first.selector,
    }  # fmt: skip
    return PlainTextResponse(parts[part])


def _first_key(found: SenderDomain) -> DkimKey:
    if not found.keys:
        raise not_found("key")
    return found.keys[0]


@router.get("/dmarc", summary="Days with DMARC reports")
async def dmarc_days(_: Reader) -> list[str]:
    """Return no days: Postroad receives no DMARC reports."""
    return []


@router.get("/spf/{name}", summary="What the SPF record of a domain must name")
async def spf(name: str, token: Reader, domains: DomainsOf) -> list[str]:
    """Return the mechanisms of the recommended record."""
    found = domains.records(await domains.find(token.account, name))
    record = next(one.record for one in found if one.record.key == "spf")
    return record.value.split()[1:]
