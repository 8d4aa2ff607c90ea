"""Words of single sign-on, for those who do not speak OpenID: that is in `singlesignon`.

Only who names an identity provider pays for the libraries behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from postroad_ingress_http.access.rolerules import NO_RULES, RoleRules

ATTEMPT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """The issuer, and what it knows us by; without a secret we are a public client."""

    issuer: str
    client_id: str
    client_secret: str = ""
    rules: RoleRules = NO_RULES


@dataclass(frozen=True, slots=True)
class SignOnAttempt:
    """What the visitor's browser keeps, sealed, while they are at the issuer."""

    state: str
    nonce: str
    verifier: str
    target: str
    began: float


@dataclass(frozen=True, slots=True)
class SignedOn:
    """Who came back: the address they have proved, and the role that their claims give, if any.

    `account` is where they become a user for that role, if they are none. `id_token` names to the
    issuer the session that they have there.
    """

    email: str
    role: str = ""
    account: str = ""
    id_token: str = field(default="", repr=False)


class Issuer(Protocol):
    """Sends visitors to the identity provider, and reads what they come back with."""

    async def begin(self, back: str, target: str) -> tuple[str, SignOnAttempt]:
        """Return where the visitor goes, and what is to be kept."""
        ...

    async def finish(self, attempt: SignOnAttempt, back: str, query: Mapping[str, str]) -> SignedOn:
        """Return who the visitor is."""
        ...

    async def leave(self, back: str, id_token: str) -> str | None:
        """Return where a visitor ends the session at the issuer; None where it offers that not."""
        ...
