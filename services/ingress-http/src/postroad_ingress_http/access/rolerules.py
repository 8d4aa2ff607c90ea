"""Which role the claims of an identity provider give: `POSTROAD_OIDC_ROLES`, a JSON object.

`{"claim": "groups", "roles": {"mail-admins": "admin"}, "account": "main", "scope": "groups"}`
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from postroad_ingress_http.access.scopes import ROLES, Role


class RoleRules(BaseModel):
    """The rules: values of one claim, each with its role; without any nothing is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str = "groups"
    """A name in the ID token, or the names down to it: `realm_access.roles`."""
    roles: dict[str, Role] = Field(default_factory=dict)
    account: str = ""
    """Who has a role and is no user becomes one of this account; empty: has to be invited."""
    scope: str = ""
    """What the provider must be asked for beside `openid email`, so that it tells the claim."""

    @field_validator("claim")
    @classmethod
    def _check_claim(cls, value: str) -> str:
        if not value:
            raise ValueError("names the claim")
        return value

    def role_in(self, claims: Mapping[str, Any]) -> str:
        """Return the role that allows most of those that the claims give; empty for none."""
        told = _value(claims, self.claim)
        values = told if isinstance(told, list) else [told]
        given = {
            self.roles[value] for value in values if isinstance(value, str) and value in self.roles
        }
        return next((role for role in ROLES if role in given), "")


NO_RULES = RoleRules()


def _value(claims: Mapping[str, Any], name: str) -> Any:
    if name in claims:
        return claims[name]
    first, dot, rest = name.partition(".")
    inner = claims.get(first)
    return _value(inner, rest) if dot and isinstance(inner, Mapping) else None
