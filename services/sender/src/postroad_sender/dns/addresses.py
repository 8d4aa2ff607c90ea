"""Addresses in the place of names: hosts that are addresses, and domain literals."""

import ipaddress


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
