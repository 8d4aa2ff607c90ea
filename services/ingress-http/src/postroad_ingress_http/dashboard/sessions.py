"""Sessions of the dashboard: a signed cookie with a secret, and what the server keeps under it.

Ending a session deletes what the server keeps, so copies of the cookie are worth nothing. Forms
carry a token that only this session's pages know.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from postroad_common.store.sessions import SessionRecord, SessionRecords
from postroad_common.store.users import User
from postroad_common.tokens import Keyring

SESSION_SECONDS = 12 * 3600
LOGIN_SECONDS = 3600
STEP_SECONDS = 600.0
"""How long the password counts while the second factor is looked for."""
SEEN_SECONDS = 60.0
"""How exactly it is kept when a session was used."""
_MAC_SIZE = 32
_LONGEST = 2000
_LONGEST_AGENT = 300
_LONGEST_ID_TOKEN = 4000  # it becomes part of an address


@dataclass(frozen=True, slots=True)
class DashboardSession:
    """Someone who is logged in, what they may do, and the account they look at.

    `home` is their own account; only an operator's may be another than `account`.
    """

    id: str
    email: str
    account: str
    home: str
    role: str
    scopes: tuple[str, ...]
    csrf: str


class Sessions:
    """Begins, finds and ends sessions; makes and reads cookies, signed with the keyring."""

    def __init__(
        self, keyring: Keyring, records: SessionRecords, clock: Callable[[], float]
    ) -> None:
        self._keyring = keyring
        self._records = records
        self._clock = clock

    async def begin(self, user: User, address: str, agent: str, id_token: str | None = None) -> str:
        """Begin a session of the user; return its cookie.

        `id_token` is the identity provider's, for those whom it vouches for.
        """
        secret = secrets.token_hex(32)
        now = self._clock()
        await self._records.create(
            SessionRecord(
                id=_hash(secret),
                email=user.email,
                account=user.account,
                version=user.version,
                created=now,
                ends=now + SESSION_SECONDS,
                seen=now,
                address=address,
                agent=agent[:_LONGEST_AGENT],
                id_token="" if len(id_token or "") > _LONGEST_ID_TOKEN else id_token,
            )
        )
        return self._sign("session", [secret, now + SESSION_SECONDS])

    async def find(self, cookie: str | None, address: str) -> SessionRecord | None:
        """Return the session of `cookie`; None when it is not one of ours, or has ended."""
        now = self._clock()
        values = self._verify("session", cookie)
        if not isinstance(values, list) or len(values) != 2 or now >= values[1]:
            return None
        record = await self._records.find(_hash(values[0]))
        if record is None or now >= record.ends:
            return None
        if now - record.seen >= SEEN_SECONDS:
            await self._records.touch(record.id, now, address)
        return record

    def csrf_of(self, session_id: str) -> str:
        """Return the token that the forms of a session carry."""
        return self._csrf("session", session_id)

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

    def write_step(self, user: User, now: float) -> str:
        """Return the proof that the user has given the right password."""
        return self._sign("step", [user.email, user.version, now + STEP_SECONDS])

    def read_step(self, text: str | None, now: float) -> tuple[str, int] | None:
        """Return the address and the password's version of a proof; None when it is none."""
        values = self._verify("step", text)
        if not isinstance(values, list) or len(values) != 3 or now >= values[2]:
            return None
        return values[0], values[1]

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


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def same(given: object, expected: str | None) -> bool:
    """Whether a form carried the right token; takes constant time."""
    return (
        isinstance(given, str)
        and expected is not None
        and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
    )
