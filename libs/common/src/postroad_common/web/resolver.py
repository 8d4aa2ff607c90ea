"""Host names to addresses, by DNS, without threads: a slow name server must not use any up."""

import dns.asyncresolver
import dns.exception
import dns.resolver

_LIFETIME = 3.0
"""Seconds for one look-up."""
_LOCAL = ("127.0.0.1", "::1")


class Resolver:
    """Asks `server` (`host:port`), or the name servers that the system is set up with."""

    def __init__(self, server: str | None = None) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        self._resolver.lifetime = _LIFETIME
        self._resolver.cache = dns.resolver.LRUCache(1000)
        if server is not None:
            host, _, port = server.rpartition(":")
            self._resolver.nameservers = [host.strip("[]")]
            self._resolver.port = int(port)

    async def addresses(self, host: str) -> list[str]:
        """Return the IPv4 and IPv6 addresses of `host`, in that order.

        Raises:
            OSError: it has none, or no name server answers in time.
        """
        if host == "localhost" or host.endswith(".localhost"):
            return list(_LOCAL)
        try:
            found = await self._resolver.resolve_name(host)
        except (dns.exception.DNSException, ValueError) as error:
            raise OSError(f"{host} cannot be resolved: {error}") from error
        return list(found.addresses())
