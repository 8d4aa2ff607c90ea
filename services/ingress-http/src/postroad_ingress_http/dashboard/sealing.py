"""Seals texts that the visitor's browser keeps: nobody reads or changes them there."""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from postroad_common.tokens import Keyring

_NONCE = 12  # octets


class Sealer:
    """Seals for one `purpose`: what was sealed for another is not opened."""

    def __init__(self, keyring: Keyring, purpose: str) -> None:
        self._keyring = keyring
        self._purpose = purpose

    def seal(self, text: str) -> str:
        """Return the text as a value for a cookie."""
        nonce = os.urandom(_NONCE)
        sealed = AESGCM(self._key()).encrypt(nonce, text.encode(), None)
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, sealed: str) -> str | None:
        """Return the text; None where it is none that was sealed here."""
        try:
            octets = base64.urlsafe_b64decode(sealed)
            return AESGCM(self._key()).decrypt(octets[:_NONCE], octets[_NONCE:], None).decode()
        except (binascii.Error, InvalidTag, ValueError):
            return None

    def _key(self) -> bytes:
        key = self._keyring.derived(self._purpose, self._keyring.key_id)
        assert key is not None  # noqa: S101 - the first key always exists
        return key
