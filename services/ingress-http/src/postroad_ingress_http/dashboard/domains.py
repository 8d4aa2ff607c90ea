"""Sender domains."""

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.responses import Response

from postroad_common.store.domains import SenderDomain
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.visitor import Form, Pages, PagesOf, SignedIn
from postroad_ingress_http.dependencies import AccountsOf, DomainsOf
from postroad_ingress_http.domains.senderdomains import CheckedRecord
from postroad_ingress_http.domains.zonefile import write_zone

router = APIRouter(prefix="/dashboard/domains", include_in_schema=False)


@router.get("")
async def listing(session: SignedIn, pages: PagesOf, domains: DomainsOf) -> Response:
    """List the domains of the account."""
    return pages.answer("domains.html", rows=await domains.all(session.account))


@router.post("")
async def add(
    session: SignedIn, fields: Form, domains: DomainsOf, accounts: AccountsOf
) -> Response:
    """Add a domain."""
    await accounts.check_room(session.account, "domains")
    made = await domains.add(session.account, text(fields, "name"))
    return see_other(f"/dashboard/domains/{made.domain}")


@router.get("/{name}")
async def one(name: str, session: SignedIn, pages: PagesOf, domains: DomainsOf) -> Response:
    """Show a domain with the records to publish."""
    found = await domains.find(session.account, name)
    return _show(pages, found, domains.records(found))


@router.post("/{name}/verify")
async def verify(
    name: str, session: SignedIn, _: Form, pages: PagesOf, domains: DomainsOf
) -> Response:
    """Ask DNS for the records and show what it said."""
    return _show(pages, *await domains.verify(session.account, name))


@router.post("/{name}/hosts")
async def hosts(name: str, session: SignedIn, fields: Form, domains: DomainsOf) -> Response:
    """Change the hosts of the domain, and where DMARC reports go."""
    names = ("tracking_host", "bounce_host", "dmarc_reports")
    changes = {field: text(fields, field).strip() or None for field in names}
    changed = await domains.change(session.account, name, changes)
    return see_other(f"/dashboard/domains/{changed.domain}")


@router.post("/{name}/keys")
async def keys(name: str, session: SignedIn, _: Form, domains: DomainsOf) -> Response:
    """Make new DKIM keys."""
    changed = await domains.replace_keys(session.account, name)
    return see_other(f"/dashboard/domains/{changed.domain}")


@router.post("/{name}/delete")
async def delete(name: str, session: SignedIn, _: Form, domains: DomainsOf) -> Response:
    """Remove a domain and its keys."""
    await domains.delete(session.account, name)
    return see_other("/dashboard/domains")


def _show(pages: Pages, domain: SenderDomain, records: Iterable[CheckedRecord]) -> Response:
    shown = list(records)
    zone = write_zone(domain.domain, [checked.record for checked in shown])
    return pages.answer("domain.html", domain=domain, records=shown, zone=zone)
