"""The sender domains of an account: added with keys, changed, checked in DNS."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.store.domains import Domains, SenderDomain
from postroad_ingress_http.domains import dkimkeys, dnsrecords
from postroad_ingress_http.domains.dnscheck import DnsChecker
from postroad_ingress_http.domains.dnsrecords import DnsRecord, DnsRules
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found

_SHOWN_RECORDS = 5
_SHOWN_LENGTH = 500  # characters of a record that DNS has


@dataclass(frozen=True, slots=True)
class CheckedRecord:
    """A recommended record; its status and what DNS has instead are known once it was checked."""

    record: DnsRecord
    status: str | None
    found: tuple[str, ...] = ()


class SenderDomains:
    """Adds, changes and checks the domains of an account."""

    def __init__(
        self, store: Domains, dns: DnsChecker, rules: DnsRules, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._dns = dns
        self._rules = rules
        self._clock = clock

    async def all(self, account: str) -> list[SenderDomain]:
        """Return all domains of the account in the order of their names."""
        return await self._store.list(account)

    async def add(self, account: str, text: str) -> SenderDomain:
        """Create a domain with DKIM keys.

        Raises:
            ApiError: 400, or 409 when the account has it already.
        """
        name = read_name(text)
        keys = await asyncio.to_thread(dkimkeys.new_keys, self._clock())
        made = await self._store.create(account, name, secrets.token_hex(16), keys)
        if made is None:
            raise ApiError(409, "This domain is there already.", field="domain")
        return made

    async def find(self, account: str, name: str) -> SenderDomain:
        """Return the domain of the account.

        Raises:
            ApiError: 404.
        """
        found = await self._store.find(account, name.lower())
        if found is None:
            raise not_found("domain")
        return found

    async def set_tracking_host(self, account: str, name: str, host: str | None) -> SenderDomain:
        """Set the host of tracked links in mail of the domain; None for the common one.

        Raises:
            ApiError: 400 for a host outside of the domain, 404.
        """
        domain = await self.find(account, name)
        if host is not None:
            try:
                host = normalise_domain(host.strip().rstrip("."))
            except AddressError as error:
                raise bad_field("tracking_host", f"Not a host name: {error}.") from None
            if not host.endswith(f".{domain.domain}"):
                raise bad_field("tracking_host", f"Give a host below {domain.domain}.")
        return _there(await self._store.set_tracking_host(account, domain.domain, host))

    async def replace_keys(self, account: str, name: str) -> SenderDomain:
        """Give the domain new DKIM keys under new selectors.

        Raises:
            ApiError: 404.
        """
        domain = await self.find(account, name)
        taken = frozenset(key.selector for key in domain.keys)
        keys = await asyncio.to_thread(dkimkeys.new_keys, self._clock(), taken)
        return _there(await self._store.set_keys(account, domain.domain, keys))

    async def delete(self, account: str, name: str) -> None:
        """Remove the domain and its keys.

        Raises:
            ApiError: 404.
        """
        if not await self._store.delete(account, name.lower()):
            raise not_found("domain")

    def records(self, domain: SenderDomain) -> list[CheckedRecord]:
        """Return the records to publish, with what the last check said of each."""
        return [
            CheckedRecord(record, domain.checks.get(record.key))
            for record in dnsrecords.recommended(domain, self._rules)
        ]

    async def verify(self, account: str, name: str) -> tuple[SenderDomain, list[CheckedRecord]]:
        """Ask DNS for every recommended record and keep the result.

        Raises:
            ApiError: 404.
        """
        domain = await self.find(account, name)
        records = dnsrecords.recommended(domain, self._rules)
        found = await self._dns.texts(record.name for record in records)
        statuses: dict[str, str] = {
            record.key: dnsrecords.judge(record, found[record.name], self._rules)
            for record in records
        }
        changed = await self._store.set_checks(
            account, domain.domain, statuses, verified=dnsrecords.is_verified(statuses)
        )
        return _there(changed), [
            CheckedRecord(
                record,
                statuses[record.key],
                tuple(text[:_SHOWN_LENGTH] for text in (found[record.name] or [])[:_SHOWN_RECORDS]),
            )
            for record in records
        ]


def read_name(text: str) -> str:
    """Return the domain in A-label form.

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


def _there(changed: SenderDomain | None) -> SenderDomain:
    """Return the changed domain; it may have been deleted since it was found."""
    if changed is None:
        raise not_found("domain")
    return changed
