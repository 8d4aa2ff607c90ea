"""The DNS records of TLS policies: `_mta-sts` (RFC 8461 section 3.1) and TLSA (RFC 7672).

TLSA records count only if DNSSEC vouches for them, which only a resolver that the operator calls
trusted can say.
"""

import time
from collections.abc import Callable

from postroad_sender.dns.answers import Answers
from postroad_sender.dns.resolver import TTL_FAILURE, Found, Resolver
from postroad_sender.tls.dane import TlsaRecord
from postroad_sender.tls.mta_sts import record_id
from postroad_smtp.client.stage import WireError

ABSENT_FOR = 600.0  # seconds that a domain is believed to have no such record
SILENT_FOR = 300.0  # seconds that a domain which does not say whether it has a policy is not asked
MOST_RECORDS = 20
_MOST_TEXT = 2000  # characters


class PolicyLookups:
    """Looks them up through `resolver` and keeps them for their TTL."""

    def __init__(self, resolver: Resolver, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolver = resolver
        self._ids = Answers(
            self._ask_id, weigh=len, definite=ABSENT_FOR, unknown=SILENT_FOR, clock=clock
        )
        self._tlsa = Answers(
            self._ask_tlsa,
            weigh=lambda found: sum(len(record.data) + 200 for record in found),
            definite=ABSENT_FOR,
            unknown=TTL_FAILURE,
            clock=clock,
        )

    @property
    def has_dnssec(self) -> bool:
        """Whether there can be TLSA records that count."""
        return self._resolver.dnssec

    async def policy_id(self, domain: str) -> str | None:
        """Return the id of the MTA-STS policy that `domain` announces; None if it has none.

        Raises:
            WireError: no answer came.
        """
        return await self._ids.find(f"_mta-sts.{domain}") or None

    async def tlsa(self, host: str, port: int) -> tuple[str, tuple[TlsaRecord, ...]]:
        """Return the name that the TLSA records of `host` are under, and those that are secure.

        If the host is an alias, those of its real name go first (RFC 7672 section 2.2.3). Where
        DNSSEC does not vouch for its addresses, there are none.

        Raises:
            WireError: no answer came; mail must not go there then (RFC 7672 section 2.1.2).
        """
        addresses = await self._resolver.find_addresses(host)
        if not addresses.secure:
            return host, ()
        for name in dict.fromkeys((addresses.name, host)):
            records = await self._tlsa.find(f"_{port}._tcp.{name}")
            if records:
                return name, records
        return host, ()

    async def _ask_id(self, name: str) -> tuple[str, float]:
        found = await self._ask(name, "TXT")
        if found is None:
            return "", ABSENT_FOR
        texts = (
            b"".join(record.strings)[:_MOST_TEXT].decode("utf-8", "replace")
            for record in list(found.answer)[:MOST_RECORDS]
        )
        return record_id(texts) or "", found.ttl

    async def _ask_tlsa(self, name: str) -> tuple[tuple[TlsaRecord, ...], float]:
        found = await self._ask(name, "TLSA")
        if found is None:
            return (), ABSENT_FOR
        records = tuple(
            TlsaRecord(record.usage, record.selector, record.mtype, bytes(record.cert))
            for record in (list(found.answer)[:MOST_RECORDS] if found.secure else ())
        )
        return records, found.ttl

    async def _ask(self, name: str, kind: str) -> Found | None:
        """Return the answer; None if there are no such records."""
        try:
            found = await self._resolver.ask(name, kind)
        except WireError as error:
            if error.reply is not None:
                return None  # the name does not exist
            raise
        return found if found.answer.rrset else None
