"""Reading DATA in bulk: everything up to CRLF . CRLF, and nothing else ends it.

BDAT is in `chunking`, what may stand in a message is in `content`.
"""

from typing import Protocol

from postroad_ingress_smtp.stream import SmtpStream

_END = b"\r\n.\r\n"
_SLACK = 64 * 1024
"""Octets by which the octets on the wire may exceed the limit: dots that were doubled."""


class DataError(Exception):
    """The message was read to its end and dropped."""


class TooLargeError(DataError):
    """It is larger than the limit."""


class NoMemoryError(DataError):
    """There was no room to keep it."""


class DesyncError(Exception):
    """Where the message ends cannot be told any more: the connection must be closed."""


class UncleanEndError(DesyncError):
    """The client seems to wait for the reply to an end of data made of bare CR or LF."""


class FloodError(DesyncError):
    """The client goes on sending far beyond the limit."""


class Room(Protocol):
    """Memory that a message may use, see `limits.Lease`."""

    def grow(self, size: int) -> bool:
        """Makes room for `size` octets in all; False when there is none."""
        ...


async def read_data(stream: SmtpStream, limit: int, room: Room) -> bytes:
    """The message that follows a 354, with dots unstuffed (RFC 5321 section 4.5.2).

    Octets behind its end stay in `stream`. Beyond `limit` octets, or without `room`, what comes is
    dropped as it is read.

    Raises:
        TooLargeError, NoMemoryError: after the end of the data.
        UncleanEndError, FloodError: the end was not found.
        ClientGoneError: the connection ended first; there is no message then.
    """
    body = bytearray(b"\r\n")  # so that a dot on the very first line is found like any other
    dropped = 0
    error: DataError | None = None
    while True:
        searched = max(0, len(body) - len(_END) + 1)
        body += await stream.take()
        end = body.find(_END, searched)
        if end >= 0:
            stream.put_back(body[end + len(_END) :])
            break
        if body.endswith((b"\n.\n", b"\n.\r\n", b"\r.\r")):
            raise UncleanEndError
        if error is None and len(body) > limit + _SLACK:
            error = TooLargeError()
        if error is None and not room.grow(len(body)):
            error = NoMemoryError()
        if error is not None:
            dropped += len(body)
            del body[: 1 - len(_END)]
            if dropped > 2 * limit + _SLACK:
                raise FloodError
    if error is not None:
        raise error
    if not room.grow(end):
        raise NoMemoryError
    del body[end + 2 :]  # the CRLF of the end belongs to the last line
    message = unstuff(body)
    if len(message) > limit:
        raise TooLargeError
    return message


def unstuff(lines: bytearray) -> bytes:
    """The message in `lines`, which start with one CRLF too many."""
    if b"\r\n." in lines:
        lines = lines.replace(b"\r\n.", b"\r\n")
    with memoryview(lines) as view:
        return bytes(view[2:])
