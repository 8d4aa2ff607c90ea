"""Which addresses a webhook may reach: public ones, and those that the operator allows.

The address is checked after the name is resolved and the connection goes to the very address that
was checked (`calls`), so a name that changes its mind in between gains nothing.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Return the addresses of a host name; raises OSError when there are none."""

MAX_URL = 2048
_LOWEST_FREE_PORT = 1024
_WEB_PORTS = frozenset({80, 443})
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, also some clouds' metadata
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",  # IPv4-compatible, unspecified, loopback
        "64:ff9b:1::/48",  # local-use NAT64
        "100::/64",
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")


class CallRefusedError(Exception):
    """This URL may not be called; the text says why."""


def carried(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 address stands for, if it is of such a kind."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _6TO4:
        return ipaddress.IPv4Address((int(address) >> 80) & 0xFFFF_FFFF)
    return address


def is_public(address: IPAddress) -> bool:
    """Whether everybody may reach it; by RFC 6890 and its registries."""
    inner = carried(address)
    if any(ip in network for ip in {address, inner} for network in _NEVER):
        return False
    return inner.is_global and not inner.is_multicast


class Guard:
    """Decides about URLs and addresses; `allowed` are networks that need not be public."""

    def __init__(self, allowed: Iterable[IPNetwork], resolve: Resolve) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve

    def permits(self, address: IPAddress) -> bool:
        """Whether a call may go there."""
        inner = carried(address)
        if any(ip in network for ip in {address, inner} for network in self._allowed):
            return True
        return is_public(address)

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of `host` (a name, or an address, no brackets) that may be called.

        Raises:
            CallRefusedError: none may.
            OSError: the name cannot be resolved now.
        """
        literal = _literal(host)
        candidates = [literal] if literal is not None else await self._resolve(host)
        parsed = [ipaddress.ip_address(text.partition("%")[0]) for text in candidates]
        # All or nothing: a name with one private address is no public name.
        for address in parsed:
            if not self.permits(address):
                raise CallRefusedError(f"{host} leads to {address}, which is not a public address")
        if not parsed:
            raise CallRefusedError(f"{host} has no address")
        return [str(address) for address in parsed]


def _literal(host: str) -> str | None:
    """`host` as an address in the usual form, in whatever form the system's resolver takes it."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        # The forms of inet_aton: 127.1, 0x7f000001, 2130706433, 0177.0.0.1
        return str(ipaddress.IPv4Address(socket.inet_aton(host)))
    except (OSError, UnicodeEncodeError):
        return None


def check_url(url: str) -> None:
    """Check the form of a webhook's URL.

    Raises:
        CallRefusedError: it is not an http or https URL that may be called.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise CallRefusedError("the URL is too long or holds characters that need encoding")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise CallRefusedError(f"not a URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CallRefusedError("the URL must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise CallRefusedError("the URL must not hold a user name or password")
    if port is not None and port < _LOWEST_FREE_PORT and port not in _WEB_PORTS:
        raise CallRefusedError(f"port {port} belongs to another protocol")
