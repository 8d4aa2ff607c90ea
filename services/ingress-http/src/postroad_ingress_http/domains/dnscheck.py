"""Asks DNS for TXT records, through the resolver that POSTROAD_DNS names."""

import asyncio
from collections.abc import Iterable

import dns.asyncresolver
import dns.exception
import dns.resolver

LIFETIME_SECONDS = 4.0
_AT_ONCE = 8


class DnsChecker:
    """`server` is `host:port`; None means the system's resolver."""

    def __init__(self, server: str | None) -> None:
        self._server = server
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._resolver: dns.asyncresolver.Resolver | None = None

    def _make(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            resolver = dns.asyncresolver.Resolver(configure=self._server is None)
            if self._server is not None:
                host, _, port = self._server.rpartition(":")
                resolver.nameservers = [host.strip("[]")]
                resolver.port = int(port)
            resolver.lifetime = LIFETIME_SECONDS
            self._resolver = resolver
        return self._resolver

    async def texts(self, names: Iterable[str]) -> dict[str, list[str] | None]:
        """Return the TXT records at each of `names`; None where DNS gave no answer."""
        wanted = list(dict.fromkeys(names))
        found = await asyncio.gather(*(self._ask(name) for name in wanted))
        return dict(zip(wanted, found, strict=True))

    async def _ask(self, name: str) -> list[str] | None:
        try:
            async with self._slots:
                answer = await self._make().resolve(name, "TXT", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, ValueError):
            return None
        return [
            b"".join(record.strings).decode("utf-8", "replace")
            for record in answer
            if hasattr(record, "strings")
        ]
