"""Seals texts that the visitor's browser keeps: nobody reads or changes them there."""

import base64

from postroad_common.tokens import Keyring
from postroad_ingress_http.access import aead


class Sealer:
    """Seals for one `purpose`: what was sealed for another is not opened."""

    def __init__(self, keyring: Keyring, purpose: str) -> None:
        self._keyring = keyring
        self._purpose = purpose

    def seal(self, text: str) -> str:
        """Return the text as a value for a cookie."""
        return base64.urlsafe_b64encode(aead.seal(self._key(), text.encode())).decode()

    def open(self, sealed: str) -> str | None:
        """Return the text; None where it is none that was sealed here."""
        try:
            return aead.unseal(self._key(), base64.urlsafe_b64decode(sealed)).decode()
        except ValueError:
            return None

    def _key(self) -> bytes:
        key = self._keyring.derived(self._purpose, self._keyring.key_id)
        assert key is not None  # noqa: S101 - the first key always exists
        return key
