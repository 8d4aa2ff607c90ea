"""What a token or a user may do: the one place where that is decided, for REST and the dashboard.

A scope is a noun of the API, which allows everything there, or the noun with `:read`, which allows
looking only. `*` allows everything in one account; `operator` what concerns the whole installation:
its accounts, lanes and queues. A user has the scopes of their role.
"""

from collections.abc import Iterable
from typing import Literal, get_args

from postroad_ingress_http.http.errors import ApiError, bad_field

NOUNS = (
    "send",
    "messages",
    "credentials",
    "tokens",
    "suppressions",
    "addresses",
    "webhooks",
    "domains",
    "templates",
    "users",
    "audit",
    "account",
)
"""What belongs to one account."""
OPERATOR_NOUNS = ("accounts", "lanes", "queues", "metrics")
"""What belongs to the installation; `lanes` and `queues` hold mail of every account."""
EVERYTHING = "*"
OPERATOR = "operator"
ALL_SCOPES = (
    EVERYTHING,
    OPERATOR,
    *NOUNS,
    *OPERATOR_NOUNS,
    *(f"{noun}:read" for noun in (*NOUNS, *OPERATOR_NOUNS) if noun != "send"),
)

Role = Literal["owner", "admin", "developer", "reader"]
ROLES: tuple[Role, ...] = get_args(Role)
_DEVELOPER = (
    "send",
    "messages",
    "credentials",
    "tokens",
    "suppressions",
    "webhooks",
    "domains",
    "templates",
)
_SEEN_BY_ALL = ("messages", "credentials", "suppressions", "webhooks", "domains", "templates")
ROLE_SCOPES: dict[str, tuple[str, ...]] = {
    "owner": (EVERYTHING,),
    "admin": (*(noun for noun in NOUNS if noun != "account"), "account:read"),
    "developer": (*_DEVELOPER, "account:read"),
    "reader": (*(f"{noun}:read" for noun in _SEEN_BY_ALL), "account:read"),
}
"""An owner may do everything in the account, an admin all but change the account itself, a
developer what an application needs, and a reader looks."""


def allows(scopes: Iterable[str], needed: str) -> bool:
    """Whether one of `scopes` allows what needs the scope `needed`."""
    noun = needed.removesuffix(":read")
    all_of_it = OPERATOR if noun in OPERATOR_NOUNS else EVERYTHING
    return any(scope in {all_of_it, noun, needed} for scope in scopes)


def require(scopes: Iterable[str], needed: str, who: str) -> None:
    """Refuse `who` unless one of `scopes` allows what needs the scope `needed`.

    Raises:
        ApiError: 403.
    """
    if not allows(scopes, needed):
        raise ApiError(403, f"{who} lacks the scope `{needed}`.", code="insufficient_scope")


def covers(scopes: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether someone with `scopes` may hand out all of the scopes `wanted`."""
    held = tuple(scopes)
    whole = {EVERYTHING, OPERATOR}
    return all(want in held if want in whole else allows(held, want) for want in wanted)


def scopes_of(role: str, *, operator: bool = False) -> tuple[str, ...]:
    """Return the scopes of a user with this role."""
    scopes = ROLE_SCOPES.get(role, ())
    return (*scopes, OPERATOR) if operator else scopes


def check_role(held: Iterable[str], role: str) -> None:
    """Check that someone with the scopes `held` may give a user the role.

    Raises:
        ApiError: 400, there is no such role; 403, it may do more than they may themselves.
    """
    if role not in ROLE_SCOPES:
        raise bad_field("role", f"There is no such role; there are {', '.join(ROLES)}.")
    if not covers(held, ROLE_SCOPES[role]):
        raise ApiError(
            403, "Nobody gives a role that may do more than they may themselves.",
            code="insufficient_scope", field="role",
        )  # fmt: skip


def check_scopes(scopes: list[str]) -> tuple[str, ...]:
    """Return the scopes without repetitions.

    Raises:
        ApiError: 400, one does not exist.
    """
    for scope in scopes:
        if scope not in ALL_SCOPES:
            raise bad_field("scopes", f"There is no scope {scope[:50]!r}.")
    if not scopes:
        raise bad_field("scopes", "Give at least one scope.", code="missing")
    return tuple(dict.fromkeys(scopes))
