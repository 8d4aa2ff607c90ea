"""The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.

The header is read from the bare socket before any transport exists, and not an octet more, so that
a TLS handshake may follow at once. The parser is aiosmtpd's.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from aiosmtpd.proxy_protocol import V2_SIGNATURE, get_proxy

_V1_LIMIT = 107  # octets with CRLF, by the specification
_V2_HEAD = 16
_V2_LIMIT = 4096

Network = IPv4Network | IPv6Network


class ProxyError(Exception):
    """No PROXY header, or a broken one, from a network that has to send it."""


def in_networks(address: str, networks: Sequence[Network]) -> bool:
    """Return whether the IP `address`, IPv4 in IPv6 form taken as IPv4, lies in `networks`."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


async def read_header(connection: socket.socket) -> str | None:
    """Return the client's IP address from the header that stands first in `connection`.

    None for a header without a client (`LOCAL`, `UNKNOWN`): a health check of the balancer itself.

    Raises:
        ProxyError: it is not such a header.
        ConnectionError: the connection ended first.
    """
    reader = asyncio.StreamReader()
    reader.feed_data(await _header_octets(connection))
    reader.feed_eof()
    data = await get_proxy(reader)
    if not data.valid:
        raise ProxyError(data.error or "not a PROXY header")
    if data.version == 2 and data.command == 0:  # LOCAL
        return None
    source = data.src_addr
    if isinstance(source, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return str(source)
    return None


async def _header_octets(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    head = await _exactly(loop, connection, len(V2_SIGNATURE))
    if head == V2_SIGNATURE:
        head += await _exactly(loop, connection, _V2_HEAD - len(head))
        length = int.from_bytes(head[14:16], "big")
        if length > _V2_LIMIT:
            raise ProxyError("the PROXY header is too long")
        return head + await _exactly(loop, connection, length)
    if not head.startswith(b"PROXY "):
        raise ProxyError("not a PROXY header")
    while not head.endswith(b"\r\n"):  # one at a time: what follows belongs to someone else
        if len(head) >= _V1_LIMIT:
            raise ProxyError("the PROXY header is too long")
        head += await _exactly(loop, connection, 1)
    return head


async def _exactly(loop: asyncio.AbstractEventLoop, connection: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        piece = await loop.sock_recv(connection, size - len(octets))
        if not piece:
            raise ConnectionResetError("closed within the PROXY header")
        octets += piece
    return octets


def close(connection: socket.socket) -> None:
    """Close, whatever state it is in."""
    with contextlib.suppress(OSError):
        connection.close()
