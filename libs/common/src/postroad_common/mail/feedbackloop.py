"""Addresses to which mailbox providers send their complaints (ARF, JMRP, CFL): the feedback loops.

Three kinds, all at the bounce domain. `fbl@` may be guessed by anybody. The deployment's
`fbl-<key id, MAC>@` and an account's `fbl-<account>-<key id, MAC>@` are known to those only who
were told, so what comes there needs less proof. None of them expires; all are insensitive to case,
and hold as long as the key that signed them is in the keyring.
"""

import base64
import binascii
import hmac
import re
from dataclasses import dataclass

from postroad_common.tokens import Keyring

_PURPOSE = "feedback-loop"
_MAC_SIZE = 7  # octets
_SIGNED = re.compile(r"-(?:([0-9a-v]{2,400})-)?([0-9a-f]{2})([0-9a-f]{14})")


@dataclass(frozen=True, slots=True)
class FeedbackAddress:
    """What an address is. `account` is empty for those of the deployment."""

    secret: bool
    account: str = ""


class FeedbackAddresses:
    """Makes and checks the addresses at one bounce domain; `name` begins their local parts."""

    def __init__(self, keyring: Keyring, domain: str, name: str = "fbl") -> None:
        self._keyring = keyring
        self._domain = domain.lower()
        self._name = name.lower()

    def open_address(self) -> str:
        """Return the address that needs no secret."""
        return f"{self._name}@{self._domain}"

    def secret_address(self, account: str = "") -> str:
        """Return the secret address of `account`, or of the deployment."""
        keyring = self._keyring
        mac = keyring.mac(_PURPOSE, account.encode(), _MAC_SIZE).hex()
        middle = f"{_chars(account)}-" if account else ""
        return f"{self._name}-{middle}{keyring.key_id:02x}{mac}@{self._domain}"

    def read(self, address: str) -> FeedbackAddress | None:
        """Return what `address` is; None for whatever is no such address or was forged."""
        local, _, domain = address.lower().rpartition("@")
        if domain != self._domain or not local.startswith(self._name):
            return None
        rest = local[len(self._name) :]
        if not rest:
            return FeedbackAddress(secret=False)
        match = _SIGNED.fullmatch(rest)
        if match is None:
            return None
        account = _text(match[1] or "")
        mac = bytes.fromhex(match[3])
        if account is None or not self._keyring.verify(
            _PURPOSE, int(match[2], 16), account.encode(), mac
        ):
            return None
        return FeedbackAddress(secret=True, account=account)


def login_pseudonym(key: bytes, login: str) -> str:
    """Return what Feedback-ID shows in place of a login: a keyed hash, 16 hexadecimal digits."""
    return hmac.digest(b"feedback-id" + key, login.encode(), "sha256")[:8].hex()


def _chars(text: str) -> str:
    return base64.b32hexencode(text.encode()).decode("ascii").rstrip("=").lower()


def _text(chars: str) -> str | None:
    """Undo `_chars`; None for what it did not make."""
    padded = chars.upper() + "=" * (-len(chars) % 8)
    try:
        text = base64.b32hexdecode(padded).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text if _chars(text) == chars else None
