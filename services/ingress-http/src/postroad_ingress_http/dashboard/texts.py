"""How values read on a page: times, sizes, names of features and programs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from postroad_common.schemas.features import Features

FEATURE_TEXTS = (
    (
        "inlinecss",
        "Inline CSS",
        "Style rules are copied into the elements, for mail programs that drop them.",
    ),
    (
        "clicktracking",
        "Track clicks",
        "Links lead through the tracker, which records the click.",
    ),
    (
        "openstracking",
        "Track opens",
        "Images are loaded through the tracker, which records the opening.",
    ),
    (
        "preventscam",
        "Prevent scam warnings",
        "Links whose text is itself an address stay as they are.",
    ),
    (
        "bouncetracking",
        "Collect bounces",
        "The envelope address becomes one of ours, so that returned mail is understood here.",
    ),
)
_SHORT = {name: label for name, label, _ in FEATURE_TEXTS}


def iso(seconds: float) -> str:
    """Return the time as RFC 3339 has it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def octets(size: int) -> str:
    """Return the size for people."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def feature_labels(features: Features) -> list[str]:
    """Return the names of the features that are on."""
    return [label for name, label in _SHORT.items() if getattr(features, name)]


def with_filter(query: Mapping[str, str], **more: str) -> str:
    """Return the query string of the same search, with more in it."""
    return urlencode({name: value for name, value in (dict(query) | more).items() if value})


def with_cursor(query: Mapping[str, str], cursor: str) -> str:
    """Return the query string of the next page."""
    return urlencode({**{key: value for key, value in query.items() if value}, "cursor": cursor})


_PROGRAMS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
             ("Safari/", "Safari"), ("curl/", "curl"))  # fmt: skip
_SYSTEMS = (("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"),
            ("Mac OS X", "macOS"), ("Linux", "Linux"))  # fmt: skip


def program(agent: str) -> str:
    """Return what a browser is called, by what it says of itself: `Firefox on Linux`."""
    name, system = (
        next((called for sign, called in known if sign in agent), "")
        for known in (_PROGRAMS, _SYSTEMS)
    )
    if not name:
        return agent[:60] or "unknown"
    return f"{name} on {system}" if system else name
