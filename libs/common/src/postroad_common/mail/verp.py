"""Bounce addresses: one signed return path per message and recipient.

`b<message id>-<key id, 2 hex><MAC, 12 chars of base32hex>@<bounce domain>`: 37 octets of local
part, of letters, digits and a hyphen only, insensitive to case, because receiving systems fold
and mangle. The message id holds the time, so an address expires without a look-up.
"""

import re
from dataclasses import dataclass
from typing import Literal

from postroad_common.mail.identifiers import ALPHABET, id_time
from postroad_common.tokens import Keyring

_PURPOSE = "verp"
_MAC_SIZE = 7
_PADDING = 4  # bits: 56 of MAC in 60 of base32
_LOCAL = re.compile(r"b([0-9a-v]{21})-([0-9a-f]{2})([0-9a-v]{12})")
_CLOCK_SKEW = 3600.0  # seconds that an id may lie in the future


@dataclass(frozen=True, slots=True)
class VerpResult:
    """The message an address belongs to, or why it is not accepted."""

    message_id: str | None
    refused: Literal["foreign", "forged", "expired"] | None = None


class BounceAddresses:
    """Makes and checks bounce addresses, those of one domain and those on hosts of customers.

    On another host than `domain` the MAC covers the host too: only hosts that were once chosen
    here make an address ours.
    """

    def __init__(
        self, keyring: Keyring, domain: str, max_age_seconds: float = 60 * 86400.0
    ) -> None:
        self.domain = domain.lower()
        self._keyring = keyring
        self._max_age = max_age_seconds

    def address(self, message_id: str, host: str | None = None) -> str:
        """Return the bounce address of `message_id`, at a host of its sender's if given."""
        keyring = self._keyring
        where = (host or self.domain).lower()
        mac = _chars(keyring.mac(_PURPOSE, self._signed(message_id, where), _MAC_SIZE))
        return f"b{message_id}-{keyring.key_id:02x}{mac}@{where}"

    def _signed(self, message_id: str, host: str) -> bytes:
        return (message_id if host == self.domain else f"{message_id}@{host}").encode()

    def verify(self, address: str, now: float) -> VerpResult:
        """Whether `address` is ours, genuine and still valid at `now` (Unix seconds)."""
        local, _, domain = address.lower().rpartition("@")
        wrong: Literal["foreign", "forged"] = "forged" if domain == self.domain else "foreign"
        match = _LOCAL.fullmatch(local)
        if not match:
            return VerpResult(None, wrong)
        message_id, key_id, mac = match[1], int(match[2], 16), match[3]
        signed = self._signed(message_id, domain)
        if not self._keyring.verify(_PURPOSE, key_id, signed, _octets(mac)):
            return VerpResult(None, wrong)
        age = now - id_time(message_id)
        if not -_CLOCK_SKEW <= age <= self._max_age:
            return VerpResult(None, "expired")
        return VerpResult(message_id)


def _chars(octets: bytes) -> str:
    number = int.from_bytes(octets, "big") << _PADDING
    return "".join([ALPHABET[(number >> shift) & 31] for shift in range(55, -1, -5)])


def _octets(chars: str) -> bytes:
    """Undo `_chars`; return nothing when the padding is not zero."""
    number = int(chars, 32)
    return b"" if number & 15 else (number >> _PADDING).to_bytes(_MAC_SIZE, "big")
