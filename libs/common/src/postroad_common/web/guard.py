"""Which addresses a URL of a stranger may lead to: public ones, and those that the operator allows.

The address is checked after the name is resolved and the connection goes to the very address that
was checked (`pinning`), so a name that changes its mind in between gains nothing.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from urllib.parse import urlsplit

from postroad_common.publicaddress import IPAddress, IPNetwork, carried, is_public

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Return the addresses of a host name; raises OSError when there are none."""

MAX_URL = 2048
_LOWEST_FREE_PORT = 1024
_WEB_PORTS = frozenset({80, 443})


class CallRefusedError(Exception):
    """This URL may not be called; the text says why."""


class UrlGuard:
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
    """Check the form of a URL.

    Raises:
        CallRefusedError: it is not an http or https URL that may be called.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise CallRefusedError("the URL is too long or holds characters that need encoding")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise CallRefusedError("this is not a URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CallRefusedError("the URL must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise CallRefusedError("the URL must not hold a user name or password")
    if port is not None and port < _LOWEST_FREE_PORT and port not in _WEB_PORTS:
        raise CallRefusedError(f"port {port} belongs to another protocol")
