"""Trace context of the application that handed a mail in: `traceparent` of W3C's Trace Context.

It is kept with the message and told with its events, so that what became of a mail can be found in
the trace of the request that sent it. Postroad passes it on as it is; spans of its own are made of
the events, by feedback, where an operator wants them.
"""

import re
from dataclasses import dataclass

# Version 00 in full; of a later version what it has in common (W3C Trace Context, 3.2.4).
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_LONGEST = 200
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A position in a trace: ids in hex, as they travel."""

    trace: str
    span: str
    sampled: bool


def parse_traceparent(value: str) -> TraceContext | None:
    """Return what a `traceparent` says; None for one that is not valid, which is to be ignored."""
    found = _TRACEPARENT.fullmatch(value) if len(value) <= _LONGEST else None
    if found is None or (found[1] == "00" and found[5]):
        return None
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & _SAMPLED))


def read_traceparent(value: str | None) -> str:
    """Return a valid `traceparent` in the form of version 00; empty where there is none."""
    context = parse_traceparent(value.strip()) if value else None
    return f"00-{context.trace}-{context.span}-{context.sampled:02x}" if context else ""
