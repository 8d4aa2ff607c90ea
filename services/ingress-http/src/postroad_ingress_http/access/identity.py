"""Words of single sign-on, for those who do not speak OpenID: that is in `singlesignon`.

Only who names an identity provider pays for the libraries behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

ATTEMPT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """The issuer, and what it knows us by; without a secret we are a public client."""

    issuer: str
    client_id: str
    client_secret: str = ""


@dataclass(frozen=True, slots=True)
class SignOnAttempt:
    """What the visitor's browser keeps, sealed, while they are at the issuer."""

    state: str
    nonce: str
    verifier: str
    target: str
    began: float


class Issuer(Protocol):
    """Sends visitors to the identity provider, and reads what they come back with."""

    async def begin(self, back: str, target: str) -> tuple[str, SignOnAttempt]:
        """Return where the visitor goes, and what is to be kept."""
        ...

    async def finish(self, attempt: SignOnAttempt, back: str, query: Mapping[str, str]) -> str:
        """Return the address that the visitor has."""
        ...
