"""The sender domains of an account: added with keys, changed, checked in DNS."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postroad_common.mail.address import AddressError, normalise_domain, parse_mailbox
from postroad_common.store.domains import Domains, DomainTakenError, SenderDomain
from postroad_ingress_http.domains import dkimkeys, dnsrecords, rotation
from postroad_ingress_http.domains.dnscheck import DnsChecker
from postroad_ingress_http.domains.dnsrecords import DnsRecord, DnsRules
from postroad_ingress_http.domains.intervals import next_check
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found

_SHOWN_RECORDS = 5
_SHOWN_LENGTH = 500  # characters of a record that DNS has
_TRIES = 3  # to record a check while keys are being changed


@dataclass(frozen=True, slots=True)
class CheckedRecord:
    """A recommended record; its status and what DNS has instead are known once it was checked."""

    record: DnsRecord
    status: str | None
    found: tuple[str, ...] = ()


class SenderDomains:
    """Adds, changes and checks the domains of accounts."""

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

    async def add(self, account: str, text: str, *, trusted: bool = False) -> SenderDomain:
        """Create a domain with DKIM keys, which sign once they are seen in DNS.

        A `trusted` one counts as verified, and its keys sign at once: the operator vouches for it.

        Raises:
            ApiError: 400; 409 when the account has it already, or it is trusted and another
                account has verified it.
        """
        name = read_name(text)
        now = self._clock()
        fresh = await asyncio.to_thread(dkimkeys.new_keys, now)
        keys = rotation.renew((), fresh, now, active=trusted)
        try:
            made = await self._store.create(
                account, name, secrets.token_hex(16), keys, trusted=trusted
            )
        except DomainTakenError:
            raise _taken() from None
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

    async def change(
        self, account: str, name: str, changes: Mapping[str, str | None]
    ) -> SenderDomain:
        """Change hosts or the address for reports; None sets the usual one.

        Raises:
            ApiError: 400 for a host outside of the domain, or no address; 404.
        """
        domain = await self.find(account, name)
        values = {
            field: _read_address(field, value)
            if field == "dmarc_reports"
            else _read_host(field, value, domain.domain)
            for field, value in changes.items()
        }
        return _there(await self._store.set_hosts(account, domain.domain, values))

    async def replace_keys(self, account: str, name: str, *, active: bool = False) -> SenderDomain:
        """Give the domain new DKIM keys, which sign once they are seen, until when the old do.

        Raises:
            ApiError: 404.
        """
        domain = await self.find(account, name)
        now = self._clock()
        taken = frozenset(key.selector for key in domain.keys)
        fresh = await asyncio.to_thread(dkimkeys.new_keys, now, taken)
        keys = rotation.renew(domain.keys, fresh, now, active=active)
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
            CheckedRecord(record, domain.checks.get(record.key), domain.found.get(record.key, ()))
            for record in dnsrecords.recommended(domain, self._rules)
        ]

    async def service_records(self) -> list[CheckedRecord]:
        """Return the records that the operator publishes, as DNS has them now."""
        return await self._look(dnsrecords.service_records(self._rules))

    async def verify(self, account: str, name: str) -> tuple[SenderDomain, list[CheckedRecord]]:
        """Ask DNS for every recommended record, keep the result, and let keys begin to sign.

        Raises:
            ApiError: 404; 409, another account has verified the domain, and still proves it.
        """
        for _ in range(_TRIES):
            domain = await self.find(account, name)
            checked = await self._look(dnsrecords.recommended(domain, self._rules))
            changed = await self._keep(domain, checked)
            if changed is not None:
                return changed, checked
        raise ApiError(409, "The domain is being changed at this moment; try again.")

    async def _keep(
        self, domain: SenderDomain, checked: list[CheckedRecord]
    ) -> SenderDomain | None:
        """Record the checks; None where the domain has changed since it was read."""
        statuses = {each.record.key: each.status or "unknown" for each in checked}
        verified = dnsrecords.is_verified(statuses)
        now = self._clock()
        keys = rotation.advance(domain.keys, statuses, now)
        if verified and not domain.verified:
            await self._take(domain)
        try:
            return await self._store.set_checks(
                domain,
                statuses,
                verified=verified,
                keys=keys,
                found={
                    each.record.key: each.found
                    for each in checked
                    if each.found and each.status != "ok"
                },
                due=now + next_check(domain, keys, now, verified=verified or domain.verified),
            )
        except DomainTakenError:
            # Verified twice before there was a rule against it: the first to be checked keeps it.
            await self._store.release(domain.account, domain.domain)
            raise _taken() from None

    async def _take(self, domain: SenderDomain) -> None:
        """Take the domain from an account that verified it before, and proves it no longer.

        Raises:
            ApiError: 409, it still does.
        """
        other = await self._store.holder(domain.domain)
        if other is None or other.account == domain.account:
            return
        checked = await self._look(dnsrecords.recommended(other, self._rules))
        statuses = {each.record.key: each.status or "unknown" for each in checked}
        unsure = statuses["ownership"] == "unknown"
        if other.trusted or unsure or dnsrecords.is_verified(statuses):
            raise _taken()
        await self._store.release(other.account, other.domain)

    async def _look(self, records: list[DnsRecord]) -> list[CheckedRecord]:
        found = await self._dns.answers(record.question for record in records)
        return [
            CheckedRecord(
                record,
                dnsrecords.judge(record, found[record.question], self._rules),
                tuple(
                    text[:_SHOWN_LENGTH] for text in (found[record.question] or [])[:_SHOWN_RECORDS]
                ),
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


def _read_host(field: str, text: str | None, domain: str) -> str | None:
    if text is None:
        return None
    try:
        host = normalise_domain(text.strip().rstrip("."))
    except AddressError as error:
        raise bad_field(field, f"Not a host name: {error}.") from None
    if not host.endswith(f".{domain}"):
        raise bad_field(field, f"Give a host below {domain}.")
    return host


def _read_address(field: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return parse_mailbox(text.strip()).text
    except AddressError as error:
        raise bad_field(field, f"Not an e-mail address: {error}.") from None


def _taken() -> ApiError:
    return ApiError(
        409, "Another account has verified this domain.", code="domain_taken", field="domain"
    )


def _there(changed: SenderDomain | None) -> SenderDomain:
    """Return the changed domain; it may have been deleted since it was found."""
    if changed is None:
        raise not_found("domain")
    return changed
