"""Sender domains as the API and the dashboard change them: added with keys, checked in DNS."""

import asyncio
import secrets
from dataclasses import dataclass

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.store.domains import SenderDomain
from postroad_ingress_http import dkimkeys, dnsrecords
from postroad_ingress_http.dnsrecords import DnsRecord, Status
from postroad_ingress_http.errors import ApiError, bad_field, not_found
from postroad_ingress_http.parts import Parts


@dataclass(frozen=True, slots=True)
class CheckedRecord:
    """A recommended record, what DNS has instead, and what that means."""

    record: DnsRecord
    status: Status
    found: tuple[str, ...]


def read_name(text: str) -> str:
    """The domain in A-label form.

    Raises:
        ApiError: 400.
    """
    try:
        name = normalise_domain(text.strip().rstrip("."))
    except AddressError as error:
        raise bad_field("domain", f"Not a domain: {error}.") from None
    if "." not in name or name.startswith("["):
        raise bad_field("domain", "Give a whole domain, such as example.com.")
    return name


async def add(parts: Parts, account: str, text: str) -> SenderDomain:
    """A new domain with DKIM keys.

    Raises:
        ApiError: 400, or 409 when the account has it already.
    """
    name = read_name(text)
    keys = await asyncio.to_thread(dkimkeys.new_keys, parts.clock())
    made = await parts.database.domains.create(account, name, secrets.token_hex(16), keys)
    if made is None:
        raise ApiError(409, "This domain is there already.", field="domain")
    return made


async def find(parts: Parts, account: str, name: str) -> SenderDomain:
    """The domain of the account.

    Raises:
        ApiError: 404.
    """
    found = await parts.database.domains.find(account, name.lower())
    if found is None:
        raise not_found("domain")
    return found


async def set_tracking_host(
    parts: Parts, account: str, name: str, host: str | None
) -> SenderDomain:
    """The domain with tracked links on a host of its own; None for the common one.

    Raises:
        ApiError: 400 for a host outside of the domain, 404.
    """
    domain = await find(parts, account, name)
    if host is not None:
        try:
            host = normalise_domain(host.strip().rstrip("."))
        except AddressError as error:
            raise bad_field("tracking_host", f"Not a host name: {error}.") from None
        if not host.endswith(f".{domain.domain}"):
            raise bad_field("tracking_host", f"Give a host below {domain.domain}.")
    changed = await parts.database.domains.set_tracking_host(account, domain.domain, host)
    if changed is None:
        raise not_found("domain")
    return changed


async def replace_keys(parts: Parts, account: str, name: str) -> SenderDomain:
    """The domain with new DKIM keys under new selectors.

    Raises:
        ApiError: 404.
    """
    domain = await find(parts, account, name)
    taken = frozenset(key.selector for key in domain.keys)
    keys = await asyncio.to_thread(dkimkeys.new_keys, parts.clock(), taken)
    changed = await parts.database.domains.set_keys(account, domain.domain, keys)
    if changed is None:
        raise not_found("domain")
    return changed


async def verify(parts: Parts, account: str, name: str) -> tuple[SenderDomain, list[CheckedRecord]]:
    """Asks DNS for every recommended record and keeps the result.

    Raises:
        ApiError: 404.
    """
    domain = await find(parts, account, name)
    records = dnsrecords.recommended(domain, parts.dns_rules)
    found = await parts.dns.texts(record.name for record in records)
    checked = [
        CheckedRecord(
            record,
            dnsrecords.judge(record, found[record.name], parts.dns_rules),
            tuple(text[:500] for text in (found[record.name] or [])[:5]),
        )
        for record in records
    ]
    checks: dict[str, str] = {item.record.key: item.status for item in checked}
    changed = await parts.database.domains.set_checks(
        account, domain.domain, checks, verified=dnsrecords.is_verified(checks)
    )
    if changed is None:
        raise not_found("domain")
    return changed, checked
