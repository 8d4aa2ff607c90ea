"""`/v1/installation/dns`: the DNS records that the operator publishes for all accounts."""

from typing import Annotated

from fastapi import APIRouter

from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.api.domains import RecordView, record_view
from postroad_ingress_http.dependencies import DomainsOf
from postroad_ingress_http.http.paging import Page

router = APIRouter(prefix="/v1/installation/dns", tags=["accounts"], responses=REFUSALS)


@router.get("", summary="DNS records of the installation")
async def of_service(
    _: Annotated[Token, needs("accounts:read")], domains: DomainsOf
) -> Page[RecordView]:
    """List what the operator publishes for all accounts, with what DNS has now."""
    return Page(items=[record_view(checked) for checked in await domains.service_records()])
