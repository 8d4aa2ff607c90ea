"""`Accept`: whether a client takes what an operation answers with (RFC 9110 section 12.5.1)."""

from collections.abc import Iterable

from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute

from postroad_ingress_http.http.errors import ApiError

_JSON = "application/json"


def check_acceptable(route: APIRoute, accept: str) -> None:
    """Refuse a request whose `accept` header excludes what the operation answers with.

    Raises:
        ApiError: 406.
    """
    offered = _offered(route)
    if accept and offered and not any(_takes(accept, media_type) for media_type in offered):
        raise ApiError(406, f"This answers with {' or '.join(offered)}, which `Accept` excludes.")


def _offered(route: APIRoute) -> tuple[str, ...]:
    """Return the media types of the operation's answer; none where it depends on what is asked."""
    kind = route.response_class
    if isinstance(kind, DefaultPlaceholder):
        kind = kind.value
    media_type = kind.media_type
    return (media_type,) if media_type else ()


def _takes(accept: str, media_type: str) -> bool:
    """Whether the header takes the media type: its most specific range decides."""
    main = media_type.partition("/")[0]
    ranges = dict(_ranges(accept.split(",")))
    for name in (media_type, f"{main}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return False


def _ranges(items: Iterable[str]) -> Iterable[tuple[str, bool]]:
    for item in items:
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        if name:
            weights = [text.partition("=")[2] for text in parameters if text.startswith("q=")]
            yield name, not weights or weights[-1].strip("0.") != ""
