"""Sessions of the dashboard: a signed cookie, nothing on the server.

The cookie carries the user, the version of the password and an end; a changed password ends every
session. Forms carry a token that only this session's pages know.
"""

import base64
import binascii
import hmac
import json
import secrets
from dataclasses import dataclass

from postroad_common.tokens import Keyring

SESSION_SECONDS = 12 * 3600
LOGIN_SECONDS = 3600
_MAC_SIZE = 32
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Session:
    """Someone who is logged in. `ends` is Unix seconds."""

    email: str
    account: str
    version: int
    ends: float
    nonce: str
    csrf: str


class Sessions:
    """Makes and reads cookies, signed with the keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def write(self, email: str, account: str, version: int, now: float) -> str:
        """Return the cookie of a new session."""
        return self._sign(
            "session", [email, account, version, now + SESSION_SECONDS, secrets.token_hex(16)]
        )

    def read(self, cookie: str | None, now: float) -> Session | None:
        """Return the session of `cookie`; None when it is not one of ours, or has ended."""
        values = self._verify("session", cookie)
        if not isinstance(values, list) or len(values) != 5:
            return None
        email, account, version, ends, nonce = values
        if now >= ends:
            return None
        return Session(email, account, version, ends, nonce, self._csrf("session", nonce))

    def write_visit(self, now: float) -> tuple[str, str]:
        """Return the cookie of a visitor who may log in, and the token of the log-in form."""
        nonce = secrets.token_hex(16)
        cookie = self._sign("visit", [nonce, now + LOGIN_SECONDS])
        return cookie, self._csrf("visit", nonce)

    def read_visit(self, cookie: str | None, now: float) -> str | None:
        """Return the token that the log-in form of this visitor must carry."""
        values = self._verify("visit", cookie)
        if not isinstance(values, list) or len(values) != 2 or now >= values[1]:
            return None
        return self._csrf("visit", values[0])

    def _csrf(self, kind: str, nonce: str) -> str:
        return self._keyring.mac(f"csrf.{kind}", nonce.encode(), _MAC_SIZE).hex()

    def _sign(self, kind: str, values: list[object]) -> str:
        payload = json.dumps(values, separators=(",", ":")).encode()
        mac = self._keyring.mac(f"cookie.{kind}", payload, _MAC_SIZE)
        signed = bytes((self._keyring.key_id,)) + mac + payload
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()

    def _verify(self, kind: str, cookie: str | None) -> object:
        if not cookie or len(cookie) > _LONGEST:
            return None
        try:
            signed = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
        except (binascii.Error, ValueError):
            return None
        mac, payload = signed[1 : 1 + _MAC_SIZE], signed[1 + _MAC_SIZE :]
        if not payload or not self._keyring.verify(f"cookie.{kind}", signed[0], payload, mac):
            return None
        return json.loads(payload)


def same(given: object, expected: str | None) -> bool:
    """Whether a form carried the right token; takes constant time."""
    return (
        isinstance(given, str)
        and expected is not None
        and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
    )
