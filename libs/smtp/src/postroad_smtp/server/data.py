"""Reading DATA in bulk: everything up to CRLF . CRLF, and nothing else ends it.

BDAT is in `chunking`, what is done about the line ends within a message in `lineends`.
"""

from typing import Final, Protocol

from postroad_smtp.server.errors import (
    DataError,
    FloodError,
    NoMemoryError,
    TooLargeError,
    UncleanEndError,
)
from postroad_smtp.server.lineends import LineEnds, RepairedContent, from_data
from postroad_smtp.server.stream import SmtpStream

END: Final = b"\r\n.\r\n"
_UNCLEAN_ENDS: Final = (b"\n.\n", b"\n.\r\n", b"\r.\r")
_PARTIAL_END: Final = 2  # octets of END, beyond the last line, that may have come alone
_FLOOD_SLACK: Final = 64 * 1024  # octets beyond twice the limit that are read and dropped


class Room(Protocol):
    """Memory that a message may use."""

    def grow(self, size: int) -> bool:
        """Make room for `size` octets in all; False when there is none."""
        ...


class EndOfData:
    """Finds CRLF . CRLF in pieces as they come, also where it lies across a border of two."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # a dot on the very first line is found like any other

    def find(self, piece: bytes | bytearray, start: int = 0) -> int:
        """Return the offset after the end of data in `piece`, or -1 if it is not in there.

        What comes before `start` is not looked at; `piece` continues the one before it.
        """
        tail = self._tail
        across = (tail + piece[start : start + 4]).find(END)
        if across >= 0:
            return start + across - len(tail) + len(END)
        at = piece.find(END, start)
        if at >= 0:
            return at + len(END)
        self._tail = bytes((tail + piece[max(start, len(piece) - 4) :])[-4:])
        return -1


class _StuffedDots:
    """Counts the dots that were doubled for the wire (RFC 5321 section 4.5.2), as they come."""

    __slots__ = ("_counted_to", "_number")

    def __init__(self) -> None:
        self._number = 0
        self._counted_to = 0

    def count(self, body: bytearray) -> int:
        """Return their number in `body`, which has grown since the last call."""
        self._number += body.count(b"\r\n.", self._counted_to)
        self._counted_to = max(0, len(body) - 2)
        return self._number


async def read_data(
    stream: SmtpStream,
    limit: int,
    room: Room,
    line_ends: LineEnds = LineEnds.REPAIR,
    kept: int | None = None,
) -> RepairedContent:
    """Return the message that follows a 354, dots unstuffed and line ends repaired.

    Octets after its end stay in `stream`. Beyond `limit` octets, doubled dots counted once, or
    without `room`, what comes is dropped as it is read. Of a longer message only the first `kept`
    octets of what was sent are returned, up to the last whole line; the rest is dropped, too. With
    `LineEnds.ANY` a client that seems to wait after a lone LF is left waiting: text that ends so
    may just be what has arrived.

    Raises:
        TooLargeError, NoMemoryError, LineEndsError: after the end of the data.
        UncleanEndError, FloodError: the end was not found.
        ClientGoneError: the connection ended first; there is no message then.
    """
    body = bytearray(b"\r\n")  # what `EndOfData` starts with
    dots = _StuffedDots()
    finder = EndOfData()
    most = limit + len(body) + _PARTIAL_END
    beginning = bytearray()  # of a message whose rest is dropped
    came = 0  # octets, those that are dropped among them
    error: DataError | None = None
    while True:
        piece = await stream.take()
        end = finder.find(piece)
        if end >= 0:
            stream.put_back(piece[end:])
            body += piece[:end]
            came += end
            break
        body += piece
        came += len(piece)
        if line_ends is LineEnds.REPAIR and body.endswith(_UNCLEAN_ENDS):
            raise UncleanEndError
        if error is None and len(body) > most and len(body) - dots.count(body) > most:
            error = TooLargeError()
        if error is None and not room.grow(len(body)):
            error = NoMemoryError()
        if kept is not None and not beginning and len(body) > kept + _PARTIAL_END:
            beginning = _first_lines(body, kept)
        if error is not None or beginning:
            del body[:-4]
            if came - limit > 2 * limit + _FLOOD_SLACK:
                raise FloodError
    if error is not None:
        raise error
    del body[-3:]  # the CRLF before the dot belongs to the last line
    if kept is not None and came > kept + len(b".\r\n"):
        if came > limit + len(b".\r\n"):
            raise TooLargeError
        body = beginning or _first_lines(body, kept)
    if not room.grow(len(body)):
        raise NoMemoryError
    content = from_data(body, line_ends)
    if content.sent_size > limit:
        raise TooLargeError
    if not room.grow(len(content.octets)):
        raise NoMemoryError
    return content


def _first_lines(body: bytearray, kept: int) -> bytearray:
    """Return the whole lines of the first `kept` octets of what was sent, for `from_data`."""
    first = body[: kept + 2]
    return first[: first.rfind(b"\n") + 1]
