"""What a token may do.

A scope is a noun of the API, which allows everything there, or the noun with `:read`, which allows
looking only; `*` allows everything.
"""

from collections.abc import Iterable

from postroad_ingress_http.http.errors import bad_field

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
    "lanes",
    "queues",
    "metrics",
)
EVERYTHING = "*"
ALL_SCOPES = (EVERYTHING, *NOUNS, *(f"{noun}:read" for noun in NOUNS if noun != "send"))


def allows(scopes: Iterable[str], needed: str) -> bool:
    """Whether a token with `scopes` may do what needs the scope `needed`."""
    noun = needed.removesuffix(":read")
    return any(scope in {EVERYTHING, noun, needed} for scope in scopes)


def covers(scopes: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether a token with `scopes` may hand out a token with the scopes `wanted`."""
    held = tuple(scopes)
    return all(EVERYTHING in held if want == EVERYTHING else allows(held, want) for want in wanted)


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
