"""`/v1/domains`: sender domains, their DKIM keys and DNS records."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse

from postroad_common.store.domains import SenderDomain
from postroad_common.store.tokens import Token
from postroad_ingress_http.access.scopes import require
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import AccountsOf, DomainsOf
from postroad_ingress_http.domains.dnsrecords import reports_address
from postroad_ingress_http.domains.senderdomains import CheckedRecord
from postroad_ingress_http.domains.zonefile import write_zone
from postroad_ingress_http.http.paging import Page

router = APIRouter(prefix="/v1/domains", tags=["domains"], responses=REFUSALS)
Reader = Annotated[Token, needs("domains:read")]
Writer = Annotated[Token, needs("domains")]


class DomainFields(BaseModel):
    """A domain to add."""

    model_config = ConfigDict(extra="forbid")

    domain: str = Field(max_length=255, validation_alias=AliasChoices("domain", "name"))
    trusted: bool = Field(
        default=False,
        description="The operator vouches for it: it counts as verified and its keys sign at once, "
        "whatever DNS says. Needs the scope `accounts`.",
    )


class DomainChanges(BaseModel):
    """What can be changed of a domain; what is left out stays, null is the usual value."""

    model_config = ConfigDict(extra="forbid")

    tracking_host: str | None = Field(
        None,
        max_length=255,
        description="Host of the tracked links in mail of this domain, a CNAME of the tracker's "
        "host; used once the domain is verified. null for the common host.",
    )
    bounce_host: str | None = Field(
        None,
        max_length=255,
        description="Host of the envelope addresses, `bounces.` below the domain if null; used "
        "once its MX record was seen.",
    )
    dmarc_reports: str | None = Field(
        None, max_length=320, description="Address for DMARC reports; `postmaster@` if null."
    )


class KeyFields(BaseModel):
    """New keys."""

    model_config = ConfigDict(extra="forbid")

    active: bool = Field(
        default=False,
        description="Sign with them at once, whatever DNS says. Needs the scope `accounts`.",
    )


class KeyView(BaseModel):
    """A DKIM key; the private part never leaves the service.

    `state` is pending until its record was `seen`, then active, and retired once it is replaced:
    its record stays needed until `retires`.
    """

    model_config = ConfigDict(from_attributes=True)

    selector: str
    algorithm: str
    public: str
    created: float
    state: str
    seen: float | None
    retires: float | None


class RecordView(BaseModel):
    """A DNS record to publish. `status` is ok, missing, different or unknown, once checked.

    `host` is the name relative to the domain; `needed` is false for what mail can do without.
    """

    purpose: str
    type: str
    name: str
    host: str
    value: str
    priority: int | None = None
    needed: bool = True
    status: str | None = None
    found: list[str] = []


class DomainView(BaseModel):
    """A sender domain with the records it should have. They are checked by themselves, too."""

    domain: str
    verified: bool
    trusted: bool
    created: float
    checked: float | None
    tracking_host: str | None
    bounce_host: str
    dmarc_reports: str
    keys: list[KeyView]
    records: list[RecordView]


def record_view(checked: CheckedRecord) -> RecordView:
    """Return a record with what its check said."""
    record = checked.record
    return RecordView(
        purpose=record.purpose,
        type=record.type,
        name=record.name,
        host=record.host,
        value=record.value,
        priority=record.priority,
        needed=record.needed,
        status=checked.status,
        found=list(checked.found),
    )


def view(domain: SenderDomain, records: Iterable[CheckedRecord]) -> DomainView:
    """Return the domain with its records and what their check said."""
    return DomainView(
        domain=domain.domain,
        verified=domain.verified,
        trusted=domain.trusted,
        created=domain.created,
        checked=domain.checked,
        tracking_host=domain.tracking_host,
        bounce_host=domain.return_path,
        dmarc_reports=reports_address(domain),
        keys=[KeyView.model_validate(key) for key in domain.keys],
        records=[record_view(checked) for checked in records],
    )


@router.post("", status_code=201, summary="Add a sender domain")
async def add(
    token: Writer,
    fields: Annotated[DomainFields, body(DomainFields)],
    domains: DomainsOf,
    accounts: AccountsOf,
) -> DomainView:
    """Add it with new DKIM keys; the answer lists the DNS records to publish."""
    if fields.trusted:
        require(token.scopes, "accounts", "This token")
    await accounts.check_room(token.account, "domains")
    made = await domains.add(token.account, fields.domain, trusted=fields.trusted)
    return view(made, domains.records(made))


@router.get("", summary="List sender domains")
async def listing(token: Reader, domains: DomainsOf) -> Page[DomainView]:
    """In the order of their names."""
    found = await domains.all(token.account)
    return Page(items=[view(domain, domains.records(domain)) for domain in found])


@router.get("/{domain}", summary="One sender domain")
async def one(domain: str, token: Reader, domains: DomainsOf) -> DomainView:
    """With the DNS records to publish."""
    found = await domains.find(token.account, domain)
    return view(found, domains.records(found))


@router.patch("/{domain}", summary="Change a sender domain")
async def change(
    domain: str,
    token: Writer,
    fields: Annotated[DomainChanges, body(DomainChanges)],
    domains: DomainsOf,
) -> DomainView:
    """Change its hosts, or where DMARC reports go."""
    changes = fields.model_dump(exclude_unset=True)
    changed = await domains.change(token.account, domain, changes)
    return view(changed, domains.records(changed))


@router.get(
    "/{domain}/zone", summary="The records as a zone file", response_class=PlainTextResponse
)
async def zone(domain: str, token: Reader, domains: DomainsOf) -> PlainTextResponse:
    """Return the records to publish, with names relative to the domain."""
    found = await domains.find(token.account, domain)
    records = [checked.record for checked in domains.records(found)]
    return PlainTextResponse(write_zone(found.domain, records))


@router.post("/{domain}/verify", summary="Check the DNS records")
async def verify(domain: str, token: Writer, domains: DomainsOf) -> DomainView:
    """Ask DNS now, and say what it has. A domain is verified in one account only."""
    return view(*await domains.verify(token.account, domain))


@router.post("/{domain}/keys", summary="Make new DKIM keys")
async def rotate(
    domain: str, token: Writer, fields: Annotated[KeyFields, body(KeyFields)], domains: DomainsOf
) -> DomainView:
    """Publish their records: they sign once these are seen, until when the old keys do."""
    if fields.active:
        require(token.scopes, "accounts", "This token")
    changed = await domains.replace_keys(token.account, domain, active=fields.active)
    return view(changed, domains.records(changed))


@router.delete("/{domain}", status_code=204, summary="Remove a domain")
async def delete(domain: str, token: Writer, domains: DomainsOf) -> None:
    """Its keys are deleted with it."""
    await domains.delete(token.account, domain)
