"""`/v1/domains`: sender domains, their DKIM keys and DNS records."""

from enum import Enum
from typing import Annotated

from fastapi import FastAPI
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.responses import Response

from postroad_common.store.domains import SenderDomain
from postroad_common.store.tokens import Token
from postroad_ingress_http import dnsrecords, senderdomains
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.pages import Page
from postroad_ingress_http.errors import not_found
from postroad_ingress_http.parts import Parts


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


def view(parts: Parts, domain: SenderDomain) -> DomainView:
    """The domain with its records and what the last check said."""
    return DomainView(
        domain=domain.domain,
        verified=domain.verified,
        created=domain.created,
        checked=domain.checked,
        tracking_host=domain.tracking_host,
        keys=[KeyView.model_validate(key) for key in domain.keys],
        records=[
            RecordView(
                purpose=record.purpose,
                type=record.type,
                name=record.name,
                value=record.value,
                status=domain.checks.get(record.key),
            )
            for record in dnsrecords.recommended(domain, parts.dns_rules)
        ],
    )


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "domains:read")
    writing = needs(parts.authenticator, "domains")
    tags: list[str | Enum] = ["domains"]

    @app.post("/v1/domains", status_code=201, tags=tags, summary="Add a sender domain")
    async def add(
        token: Annotated[Token, writing], fields: Annotated[DomainFields, body(DomainFields)]
    ) -> DomainView:
        """With new DKIM keys; the answer lists the DNS records to publish."""
        return view(parts, await senderdomains.add(parts, token.account, fields.domain))

    @app.get("/v1/domains", tags=tags, summary="List sender domains")
    async def listing(token: Annotated[Token, reading]) -> Page[DomainView]:
        """In the order of their names."""
        found = await parts.database.domains.list(token.account)
        return Page(items=[view(parts, domain) for domain in found])

    @app.get("/v1/domains/{domain}", tags=tags, summary="One sender domain")
    async def one(domain: str, token: Annotated[Token, reading]) -> DomainView:
        """With the DNS records to publish."""
        return view(parts, await senderdomains.find(parts, token.account, domain))

    @app.patch("/v1/domains/{domain}", tags=tags, summary="Change a sender domain")
    async def change(
        domain: str,
        token: Annotated[Token, writing],
        fields: Annotated[DomainChanges, body(DomainChanges)],
    ) -> DomainView:
        """Its tracking host."""
        return view(
            parts,
            await senderdomains.set_tracking_host(
                parts, token.account, domain, fields.tracking_host
            ),
        )

    @app.post("/v1/domains/{domain}/verify", tags=tags, summary="Check the DNS records")
    async def verify(domain: str, token: Annotated[Token, writing]) -> DomainView:
        """Asks DNS now, and says what it found."""
        changed, checked = await senderdomains.verify(parts, token.account, domain)
        shown = view(parts, changed)
        for record, result in zip(shown.records, checked, strict=True):
            record.status = result.status
            record.found = list(result.found)
        return shown

    @app.post("/v1/domains/{domain}/keys", tags=tags, summary="Make new DKIM keys")
    async def rotate(domain: str, token: Annotated[Token, writing]) -> DomainView:
        """Mail is signed with them at once: publish their records right away."""
        return view(parts, await senderdomains.replace_keys(parts, token.account, domain))

    @app.delete("/v1/domains/{domain}", status_code=204, tags=tags, summary="Remove a domain")
    async def delete(domain: str, token: Annotated[Token, writing]) -> Response:
        """Its keys are deleted with it."""
        if not await parts.database.domains.delete(token.account, domain.lower()):
            raise not_found("domain")
        return Response(status_code=204)
