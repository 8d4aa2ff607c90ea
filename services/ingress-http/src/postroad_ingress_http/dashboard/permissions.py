"""Which scope a page needs: its noun by the first part of its path, `:read` for looking.

A page that is not named here needs the scope of its own name, which no role but the owner's has:
a new page is closed until it is opened here.
"""

from collections.abc import Iterable

from postroad_ingress_http.access.scopes import allows

_ROOT = "/dashboard"
_NOUNS = {
    "": "messages",
    "bounces": "messages",
    "feeds": "messages",
    "feeds/deployment": "queues",
    "jobs": "messages",
    "logins": "credentials",
    "stats": "messages",
    "start": "messages",
}
_OF_EVERYBODY = frozenset({"profile", "searches", "logout", "leave", "secret", "smtp-ca.pem"})


def needed_for(path: str, method: str) -> str | None:
    """Return the scope that a request to a page needs; None where being logged in is enough."""
    if path != _ROOT and not path.startswith(f"{_ROOT}/"):
        return None
    parts = path.removeprefix(_ROOT).lstrip("/").split("/")
    page = parts[0]
    if page in _OF_EVERYBODY:
        return None
    noun = _NOUNS.get("/".join(parts[:2])) or _NOUNS.get(page, page)
    return f"{noun}:read" if method in {"GET", "HEAD"} else noun


def may_see(scopes: Iterable[str], path: str) -> bool:
    """Whether somebody with `scopes` may look at the page."""
    needed = needed_for(path, "GET")
    return needed is None or allows(scopes, needed)
