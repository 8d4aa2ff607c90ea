"""Who a message says it is from (its From field), and whether that is allowed."""

import re
from collections.abc import Iterable
from email.utils import getaddresses
from functools import lru_cache

from postroad_common.mail.address import AddressError, parse_mailbox
from postroad_common.mail.control import header_end

_FROM = re.compile(
    rb"^(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)*+from[ \t]*:((?:[^\r\n]|\r\n[ \t]|\n[ \t])*)",
    re.IGNORECASE | re.MULTILINE,
)
_LONGEST = 10_000  # octets of a From field that is looked at
_MOST = 50
_REMEMBERED = 300  # octets of a From field


def from_addresses(raw: bytes) -> tuple[str, ...] | None:
    """Return the addresses in the From field of the message, the domain of each in A-labels.

    None: there is no From field, or more than one, or it holds something that is no address. Such
    a message may read as if it were from anybody.
    """
    fields = _FROM.findall(raw[: header_end(raw)])
    if len(fields) != 1 or len(fields[0]) > _LONGEST:
        return None
    read = _addresses_in if len(fields[0]) <= _REMEMBERED else _addresses_in.__wrapped__
    return read(fields[0])


@lru_cache(1024)
def _addresses_in(value: bytes) -> tuple[str, ...] | None:
    """Return the addresses in the value of a From field, which repeats from mail to mail."""
    text = " ".join(value.decode("utf-8", "replace").split())
    found = getaddresses([text])
    if not 0 < len(found) <= _MOST:
        return None
    try:
        return tuple(parse_mailbox(address, smtputf8=True).text for _, address in found)
    except AddressError:
        return None


def first_sender(raw: bytes) -> str:
    """Return the first From address of the message in lower case; empty where it has none."""
    addresses = from_addresses(raw)
    return addresses[0].lower() if addresses else ""


def is_within(domain: str, allowed: Iterable[str]) -> bool:
    """Whether `domain` is one of those allowed; `*.example.com` allows all below example.com."""
    wanted = domain.lower()
    for entry in map(str.lower, allowed):
        if wanted == entry or (entry.startswith("*.") and wanted.endswith(entry[1:])):
            return True
    return False


def is_at_or_below(domain: str, domains: Iterable[str]) -> bool:
    """Whether `domain` is one of `domains` or lies below one."""
    wanted = domain.lower()
    return any(wanted == entry or wanted.endswith(f".{entry}") for entry in domains)
