"""Which IP addresses mail may be sent to when DNS, and not the operator, names them."""

import ipaddress

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")


def is_public(text: str) -> bool:
    """Whether `text` is an address on the public internet.

    Loopback, private, link-local, shared (CGNAT), multicast, reserved and unspecified ones are
    not, nor are IPv6 addresses that carry such an IPv4 address inside.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address.teredo is not None or address.is_site_local or address in _SIX_TO_FOUR:
            return False
    return address.is_global and not address.is_multicast


def is_literal(host: str) -> bool:
    """Whether `host` is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def literal(domain: str) -> str | None:
    """Return the address in a literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]`; None for a name."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    return domain[1:-1].removeprefix("IPv6:").removeprefix("ipv6:")
