"""Sender domains."""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from postroad_ingress_http.dashboard.forms import see_other, text, told_at
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import AccountsOf, DomainsOf
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
    with told_at("name"):
        made = await domains.add(session.account, text(fields, "name"))
    return see_other(
        f"/dashboard/domains/{made.domain}", f"{made.domain} is added. Publish these records next."
    )


@router.get("/{name}")
async def one(name: str, session: SignedIn, pages: PagesOf, domains: DomainsOf) -> Response:
    """Show a domain with the records to publish."""
    found = await domains.find(session.account, name)
    records = domains.records(found)
    zone = write_zone(found.domain, [checked.record for checked in records])
    return pages.answer("domain.html", domain=found, records=records, zone=zone)


@router.get("/{name}/zone")
async def zone_file(name: str, session: SignedIn, domains: DomainsOf) -> Response:
    """Download the records as a zone file."""
    found = await domains.find(session.account, name)
    zone = write_zone(found.domain, [checked.record for checked in domains.records(found)])
    headers = {"Content-Disposition": f'attachment; filename="{found.domain}.zone"'}
    return PlainTextResponse(zone, headers=headers)


@router.post("/{name}/verify")
async def verify(name: str, session: SignedIn, _: Form, domains: DomainsOf) -> Response:
    """Ask DNS for the records."""
    changed, checked = await domains.verify(session.account, name)
    right = sum(each.status == "ok" for each in checked)
    return see_other(
        f"/dashboard/domains/{changed.domain}",
        f"DNS was asked: {right} of {len(checked)} records are as they should be.",
    )


@router.post("/{name}/hosts")
async def hosts(name: str, session: SignedIn, fields: Form, domains: DomainsOf) -> Response:
    """Change the hosts of the domain, and where DMARC reports go."""
    names = ("tracking_host", "bounce_host", "dmarc_reports")
    changes = {field: text(fields, field).strip() or None for field in names}
    changed = await domains.change(session.account, name, changes)
    return see_other(
        f"/dashboard/domains/{changed.domain}", "Saved. The records are looked for soon."
    )


@router.post("/{name}/keys")
async def keys(name: str, session: SignedIn, _: Form, domains: DomainsOf) -> Response:
    """Make new DKIM keys."""
    changed = await domains.replace_keys(session.account, name)
    return see_other(
        f"/dashboard/domains/{changed.domain}",
        "New keys are made. The old ones sign until the records of the new ones are seen.",
    )


@router.post("/{name}/delete")
async def delete(name: str, session: SignedIn, _: Form, domains: DomainsOf) -> Response:
    """Remove a domain and its keys."""
    await domains.delete(session.account, name)
    return see_other("/dashboard/domains", f"{name} is removed.")
