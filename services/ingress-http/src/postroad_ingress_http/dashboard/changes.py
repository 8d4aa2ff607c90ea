"""What the transformer did to a message, and what not and why, in sentences."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ENDINGS = {
    "tracked": "through the tracker",
    "hosted": "taken out of the mail and hosted",
    "opted_out": "left alone, as the mail asks (data-track)",
    "own": "left alone: on the tracking host already",
    "too_long": "left alone: too long",
    "too_many": "left alone: too many in one mail",
    "unsubscribe": "left alone: for unsubscribing",
    "preventscam": "left alone: the visible text is itself an address",
}
_OWN_WORDS = {
    "line_ends": "Line ends",
    "header": "Header",
    "text": "Plain text",
    "hosting": "Embedded images",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One change, or one that was not made: what it is about, and a sentence on it."""

    about: str
    text: str


def describe(told: Mapping[str, Any]) -> list[Change]:
    """Return the changes that the `transformed` event tells of."""
    return [Change(about, text) for about, text in _described(told) if text]


def _described(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = dict(told)
    if css := known.pop("css", ""):
        yield "CSS", str(css)
    for name in ("links", "images"):
        for ending, count in _counts(known.pop(name, None)):
            yield name.capitalize(), f"{count} {_ENDINGS.get(ending, ending)}"
    if known.pop("pixel", False):
        yield "Pixel", "an invisible image was added, which measures opens"
    for name, about in (("added", "Header fields added"), ("removed", "Header fields removed")):
        yield about, ", ".join(map(str, known.pop(name, ())))
    yield "Signatures (DKIM)", ", ".join(map(str, known.pop("dkim", ())))
    if known.pop("bounce_address", False):
        yield "Envelope", "the sender became an address of ours, so that bounces come back here"
    reasons = known.pop("mime", ())
    for reason in [reasons] if isinstance(reasons, str) else reasons:
        yield "Content", str(reason)
    for name, value in known.items():
        yield _OWN_WORDS.get(name, name.replace("_", " ").capitalize()), str(value)


def _counts(counts: object) -> list[tuple[str, int]]:
    return list(counts.items()) if isinstance(counts, dict) else []
