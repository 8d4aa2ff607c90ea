"""The DNS records of TLS policies: `_mta-sts` (RFC 8461 section 3.1) and TLSA (RFC 7672).

TLSA records count only if DNSSEC vouches for them, which only a resolver that the operator calls
trusted can say.
"""

import time
from collections.abc import Callable
from typing import Any

from postroad_sender.dns.resolver import TTL_FAILURE, DnsCache, Found, Resolver, again
from postroad_sender.tls.dane import TlsaRecord
from postroad_smtp.client.stage import WireError

ABSENT_FOR = 600.0  # seconds that a domain is believed to have no such record
SILENT_FOR = 300.0  # seconds that a domain which does not say whether it has a policy is not asked
MOST_RECORDS = 20
_MOST_TEXT = 2000  # characters


class PolicyLookups:
    """Looks them up through `resolver` and keeps them for their TTL."""

    def __init__(self, resolver: Resolver, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolver = resolver
        self._texts: DnsCache[tuple[str, ...]] = DnsCache(clock)
        self._tlsa: DnsCache[tuple[TlsaRecord, ...]] = DnsCache(clock)

    @property
    def has_dnssec(self) -> bool:
        """Whether there can be TLSA records that count."""
        return self._resolver.dnssec

    async def texts(self, name: str) -> tuple[str, ...]:
        """Return the TXT records at `name`.

        Raises:
            WireError: no answer came.
        """
        kept = self._texts.get(name)
        if kept is None:
            found = await self._ask(name, "TXT", self._texts, SILENT_FOR)
            records = [] if found is None else list(found.answer)[:MOST_RECORDS]
            kept = tuple(
                b"".join(record.strings)[:_MOST_TEXT].decode("utf-8", "replace")
                for record in records
            )
            self._texts.put(name, kept, ABSENT_FOR if found is None else found.ttl)
        if isinstance(kept, WireError):
            raise again(kept)
        return kept

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
            records = await self._tlsa_at(f"_{port}._tcp.{name}")
            if records:
                return name, records
        return host, ()

    async def _tlsa_at(self, name: str) -> tuple[TlsaRecord, ...]:
        kept = self._tlsa.get(name)
        if kept is None:
            found = await self._ask(name, "TLSA", self._tlsa, TTL_FAILURE)
            secure = found is not None and found.secure
            kept = tuple(
                TlsaRecord(record.usage, record.selector, record.mtype, bytes(record.cert))
                for record in (list(found.answer)[:MOST_RECORDS] if found and secure else ())
            )
            self._tlsa.put(name, kept, ABSENT_FOR if found is None else found.ttl)
        if isinstance(kept, WireError):
            raise again(kept)
        return kept

    async def _ask(self, name: str, kind: str, cache: DnsCache[Any], pause: float) -> Found | None:
        """Return the answer; None for no such name. A failure is kept for `pause` seconds."""
        try:
            return await self._resolver.ask(name, kind)
        except WireError as error:
            if error.reply is not None:
                return None  # the name does not exist
            cache.put(name, error, pause)
            raise
