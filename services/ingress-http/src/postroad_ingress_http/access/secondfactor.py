"""The second factor: codes of an authenticator app (TOTP, RFC 6238) and the codes for its loss.

The shared secret is sealed with a key of the installation before it is stored; when that key has
been replaced, the next log-in seals it with the new one. A code works once.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable

import pyotp

from postroad_common.store.users import User, Users
from postroad_common.tokens import Keyring
from postroad_ingress_http.access import aead

STEP_SECONDS = 30
RECOVERY_CODES = 8
_PURPOSE = "totp"
_ISSUER = "Postroad"


class SecondFactor:
    """Makes, checks and takes away second factors."""

    def __init__(self, users: Users, keyring: Keyring, clock: Callable[[], float]) -> None:
        self._users = users
        self._keyring = keyring
        self._clock = clock

    @staticmethod
    def propose(email: str) -> tuple[str, str]:
        """Return a new secret, and the URI that apps read."""
        secret = pyotp.random_base32()
        return secret, SecondFactor.uri(email, secret)

    @staticmethod
    def uri(email: str, secret: str) -> str:
        """Return the URI that apps read."""
        return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=_ISSUER)

    @staticmethod
    def draw(uri: str) -> str:
        """Return the URI as a QR code: an SVG, dark on light whatever the page is."""
        import segno  # noqa: PLC0415 - few services ever draw one

        return segno.make(uri, micro=False).svg_inline(
            scale=5, dark="#000", light="#fff", title="The secret as a QR code"
        )

    async def enable(self, email: str, secret: str, code: str) -> tuple[str, ...] | None:
        """Switch the factor on; return the recovery codes, or None where `code` is wrong."""
        if self._step(secret, code) is None:
            return None
        codes = tuple(secrets.token_hex(5) for _ in range(RECOVERY_CODES))
        await self._users.set_totp(email, self._seal(email, secret), tuple(map(_hash, codes)))
        return codes

    async def disable(self, email: str) -> None:
        """Switch the factor off."""
        await self._users.set_totp(email, None, ())

    async def check(self, user: User, code: str) -> bool:
        """Whether `code` is right for the user, from the app or for its loss; uses it up."""
        plain = code.replace(" ", "").replace("-", "").lower()
        secret = self._unseal(user.email, user.totp) if user.totp else None
        step = self._step(secret, plain) if secret else None
        if step is not None and secret:
            if not await self._users.use_totp_step(user.email, step):
                return False
            await self._renew_seal(user, secret)
            return True
        return len(plain) == 10 and await self._users.use_recovery(user.email, _hash(plain))

    def _step(self, secret: str, code: str) -> int | None:
        """Return the time step that `code` belongs to: this one, or a neighbour of it."""
        if len(code) != 6 or not (code.isascii() and code.isdigit()):
            return None
        totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
        now = int(self._clock()) // STEP_SECONDS
        for step in (now, now - 1, now + 1):
            if secrets.compare_digest(totp.generate_otp(step), code):
                return step
        return None

    async def _renew_seal(self, user: User, secret: str) -> None:
        """Seal with the first key of the keyring what an older one has sealed."""
        if user.totp and base64.b64decode(user.totp)[0] != self._keyring.key_id:
            await self._users.reseal_totp(user.email, user.totp, self._seal(user.email, secret))

    def _seal(self, email: str, secret: str) -> str:
        key = self._keyring.derived(_PURPOSE, self._keyring.key_id)
        assert key is not None  # noqa: S101 - the first key always exists
        sealed = aead.seal(key, secret.encode(), email.encode())
        return base64.b64encode(bytes((self._keyring.key_id,)) + sealed).decode()

    def _unseal(self, email: str, text: str) -> str | None:
        """Return the secret; None when its key is gone from the settings."""
        try:
            octets = base64.b64decode(text)
            key = self._keyring.derived(_PURPOSE, octets[0])
            if key is None:
                return None
            return aead.unseal(key, octets[1:], email.encode()).decode()
        except (IndexError, ValueError):
            return None


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
