"""`/v1/domains`: sender domains, their DKIM keys and DNS records."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from postroad_common.store.domains import SenderDomain
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import DomainsOf
from postroad_ingress_http.domains.senderdomains import CheckedRecord
from postroad_ingress_http.http.paging import Page

router = APIRouter(prefix="/v1/domains", tags=["domains"], responses=REFUSALS)
Reader = Annotated[Token, needs("domains:read")]
Writer = Annotated[Token, needs("domains")]


class DomainFields(BaseModel):
    """A domain to add."""

    model_config = ConfigDict(extra="forbid")

    domain: str = Field(max_length=255, validation_alias=AliasChoices("domain", "name"))


class DomainChanges(BaseModel):
    """What can be changed of a domain."""

    model_config = ConfigDict(extra="forbid")

    tracking_host: str | None = Field(
        max_length=255,
        description="Host of the tracked links in mail of this domain, a CNAME of the tracker's "
        "host; used once the domain is verified. null for the common host.",
    )


class KeyView(BaseModel):
    """A DKIM key; the private part never leaves the service."""

    model_config = ConfigDict(from_attributes=True)

    selector: str
    algorithm: str
    public: str
    created: float


class RecordView(BaseModel):
    """A DNS record to publish. `status` is ok, missing, different or unknown, once checked."""

    purpose: str
    type: str
    name: str
    value: str
    status: str | None = None
    found: list[str] = []


class DomainView(BaseModel):
    """A sender domain with the records it should have."""

    domain: str
    verified: bool
    created: float
    checked: float | None
    tracking_host: str | None
    keys: list[KeyView]
    records: list[RecordView]


def view(domain: SenderDomain, records: Iterable[CheckedRecord]) -> DomainView:
    """Return the domain with its records and what their check said."""
    return DomainView(
        domain=domain.domain,
        verified=domain.verified,
        created=domain.created,
        checked=domain.checked,
        tracking_host=domain.tracking_host,
        keys=[KeyView.model_validate(key) for key in domain.keys],
        records=[
            RecordView(
                purpose=checked.record.purpose,
                type=checked.record.type,
                name=checked.record.name,
                value=checked.record.value,
                status=checked.status,
                found=list(checked.found),
            )
            for checked in records
        ],
    )


@router.post("", status_code=201, summary="Add a sender domain")
async def add(
    token: Writer, fields: Annotated[DomainFields, body(DomainFields)], domains: DomainsOf
) -> DomainView:
    """With new DKIM keys; the answer lists the DNS records to publish."""
    made = await domains.add(token.account, fields.domain)
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
    """Its tracking host."""
    changed = await domains.set_tracking_host(token.account, domain, fields.tracking_host)
    return view(changed, domains.records(changed))


@router.post("/{domain}/verify", summary="Check the DNS records")
async def verify(domain: str, token: Writer, domains: DomainsOf) -> DomainView:
    """Asks DNS now, and says what it found."""
    return view(*await domains.verify(token.account, domain))


@router.post("/{domain}/keys", summary="Make new DKIM keys")
async def rotate(domain: str, token: Writer, domains: DomainsOf) -> DomainView:
    """Mail is signed with them at once: publish their records right away."""
    changed = await domains.replace_keys(token.account, domain)
    return view(changed, domains.records(changed))


@router.delete("/{domain}", status_code=204, summary="Remove a domain")
async def delete(domain: str, token: Writer, domains: DomainsOf) -> None:
    """Its keys are deleted with it."""
    await domains.delete(token.account, domain)
