"""The line ends of a message that has arrived whole: judged, and repaired where that is safe.

A message whose end was found by CRLF.CRLF alone, or by counting, cannot be cut in two by its other
line ends, unless it has a line that another server could take for the end. So a lone LF is made a
CRLF, while a lone dot next to one is refused, and so are lone CR and NUL (RFC 5321 section 2.3.8,
and the smuggling of CVE-2023-51764 and its kind).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from postroad_smtp.server.errors import BareCrError, LoneDotError, NulError

_DOT_AFTER_LONE_LF: Final = re.compile(rb"(?<!\r)\n\.\r\n")
_STUFFED_AFTER_LONE_LF: Final = re.compile(rb"(?<!\r)\n\.\.")
_CRS_BEFORE_LF: Final = re.compile(rb"(?<!\r)\r{2,}+\n")


class LineEnds(StrEnum):
    """What is done about line ends that are no CRLF."""

    REPAIR = "repair"
    """A lone LF becomes CRLF; what is not safe to repair is refused."""
    ANY = "any"
    """All become CRLF, and a NUL a space: for what strangers' robots send back.

    Several CRs before an LF are one line end: a program has written CRLF as text, where LF became
    CRLF once more.
    """


@dataclass(frozen=True, slots=True)
class RepairedContent:
    """A message as it was meant.

    `repaired`: how many of its line ends were no CRLF; `dropped`: octets of them that are gone.
    """

    octets: bytes
    repaired: int = 0
    dropped: int = 0

    @property
    def sent_size(self) -> int:
        """Octets before the repair, which is what the client counted."""
        return len(self.octets) - self.repaired + self.dropped


def is_clean(octets: bytes | bytearray) -> bool:
    """Return whether there is neither NUL nor a CR or LF that is not one of a pair."""
    if b"\0" in octets:
        return False
    rest = octets.replace(b"\r\n", b"")  # quicker than counting all three
    return b"\n" not in rest and b"\r" not in rest


def from_data(wire: bytearray, line_ends: LineEnds) -> RepairedContent:
    """Return the message that came by DATA as `wire`: after one more CRLF, without the last dot.

    Dots after CRLF are unstuffed (RFC 5321 section 4.5.2). After a lone LF, a client that takes LF
    for a line end has doubled them too, and one that does not has not: `..` becomes `.` there, and
    `.x` stays.

    Raises:
        NulError, BareCrError, LoneDotError: with `LineEnds.REPAIR`.
    """
    clean = is_clean(wire)
    if not clean and line_ends is LineEnds.REPAIR:
        _check(wire)
    with memoryview(wire) as view:
        octets = unstuff(bytes(view[2:]))
    if clean:
        return RepairedContent(octets)
    if b"\n.." in octets:
        octets = _STUFFED_AFTER_LONE_LF.sub(b"\n.", octets)
    return _mend(octets)


def unstuff(lines: bytes) -> bytes:
    """Return `lines` without the dots that were doubled after CRLF (RFC 5321 section 4.5.2)."""
    lines = lines.removeprefix(b".")
    return lines.replace(b"\r\n.", b"\r\n") if b"\r\n." in lines else lines


def from_chunks(chunks: bytearray, line_ends: LineEnds) -> RepairedContent:
    """Return the message that came by BDAT, where dots are not doubled, its last line ended.

    Raises:
        NulError, BareCrError, LoneDotError: with `LineEnds.REPAIR`.
    """
    if chunks and not chunks.endswith(b"\n"):
        chunks += b"\r\n"
    if is_clean(chunks):
        return RepairedContent(bytes(chunks))
    if line_ends is LineEnds.REPAIR:
        _check(chunks)
    return _mend(bytes(chunks))


def _check(octets: bytearray) -> None:
    if b"\0" in octets:
        raise NulError
    if b"\r" in octets.replace(b"\r\n", b""):
        raise BareCrError
    if b"\n.\n" in octets or octets.startswith(b".\n") or _DOT_AFTER_LONE_LF.search(octets):
        raise LoneDotError


def _mend(octets: bytes) -> RepairedContent:
    size = len(octets)
    if b"\r\r\n" in octets:
        octets = _CRS_BEFORE_LF.sub(b"\n", octets)
    dropped = size - len(octets)
    lone = octets.count(b"\n") + octets.count(b"\r") - 2 * octets.count(b"\r\n")
    octets = octets.replace(b"\0", b" ").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return RepairedContent(octets.replace(b"\n", b"\r\n"), lone, dropped)
