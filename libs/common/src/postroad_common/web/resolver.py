"""Host names to addresses, by DNS, without threads: a slow name server must not use any up.

The library is imported at the first look-up: a service that calls nobody does without its 2 MB.
"""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as Questioner

_LIFETIME = 3.0
"""Seconds for one look-up."""
_LOCAL = ("127.0.0.1", "::1")


class Resolver:
    """Asks `server` (`host:port`), or the name servers that the system is set up with."""

    def __init__(self, server: str | None = None) -> None:
        self._server = server

    @functools.cached_property
    def _questioner(self) -> "Questioner":
        import dns.asyncresolver  # noqa: PLC0415 - see the module
        import dns.resolver  # noqa: PLC0415 - as above

        questioner = dns.asyncresolver.Resolver(configure=self._server is None)
        questioner.lifetime = _LIFETIME
        questioner.cache = dns.resolver.LRUCache(1000)
        if self._server is not None:
            host, _, port = self._server.rpartition(":")
            questioner.nameservers = [host.strip("[]")]
            questioner.port = int(port)
        return questioner

    async def addresses(self, host: str) -> list[str]:
        """Return the IPv4 and IPv6 addresses of `host`, in that order.

        Raises:
            OSError: it has none, or no name server answers in time.
        """
        if host == "localhost" or host.endswith(".localhost"):
            return list(_LOCAL)
        from dns.exception import DNSException  # noqa: PLC0415 - see the module

        try:
            found = await self._questioner.resolve_name(host)
        except (DNSException, ValueError) as error:
            raise OSError(f"{host} cannot be resolved: {error}") from error
        return list(found.addresses())
