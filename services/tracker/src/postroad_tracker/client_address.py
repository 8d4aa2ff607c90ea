"""Who asked: the address of the reader behind the proxies that this installation trusts.

`X-Forwarded-For` can be written by anybody, so it counts only as far as trusted proxies wrote it.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from postroad_common.publicaddress import IPNetwork

_MAX_HOPS = 16


class ClientAddresses:
    """Reads the reader's address; `trusted` are the networks of the proxies in front."""

    def __init__(self, trusted: Iterable[IPNetwork]) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted = lru_cache(maxsize=1024)(self._look_up)

    def _look_up(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self._trusted)

    def address(self, peer: str, forwarded_for: bytes | None) -> str:
        """Return the nearest address that no trusted proxy answers for.

        `peer` is the other end of the connection, `forwarded_for` the header, the last hop last.
        """
        if forwarded_for is None or not self._trusted or not self._is_trusted(peer):
            return peer
        address = peer
        for hop in reversed(forwarded_for.decode("latin-1").split(",")[-_MAX_HOPS:]):
            candidate = _bare(hop.strip())
            if candidate is None:
                return address
            address = candidate
            if not self._is_trusted(address):
                return address
        return address


def _bare(hop: str) -> str | None:
    """Return the address of one entry, which may carry a port or brackets; None without one."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ipaddress.ip_address(hop))
    except ValueError:
        return None
