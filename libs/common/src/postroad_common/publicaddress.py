"""Which IP addresses are on the public internet: one rule for all that Postroad connects to.

Names come from DNS and from strangers. What they lead to is called (mail, MTA-STS policies,
webhooks) only if everybody may reach it: by RFC 6890 and its registries. An IPv6 address that
carries an IPv4 address is judged by that, too.
"""

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

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
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
_LAST_FOUR_OCTETS = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "64:ff9b::/96",  # NAT64
    )
)
_6TO4 = ipaddress.IPv6Network("2002::/16")


def carried(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 address stands for, if it is of such a kind."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if any(address in network for network in _LAST_FOUR_OCTETS):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _6TO4:
        return ipaddress.IPv4Address((int(address) >> 80) & 0xFFFF_FFFF)
    return address


def is_public(address: IPAddress) -> bool:
    """Whether everybody may reach it."""
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return False
    inner = carried(address)
    if any(ip in network for ip in {address, inner} for network in _NEVER):
        return False
    return inner.is_global and not inner.is_multicast


def is_public_text(text: str) -> bool:
    """Whether `text` is a public address in the usual form."""
    try:
        return is_public(ipaddress.ip_address(text))
    except ValueError:
        return False
