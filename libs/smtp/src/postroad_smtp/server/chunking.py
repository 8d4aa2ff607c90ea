"""BDAT (RFC 3030 section 2): messages in counted chunks, binary-safe.

The octets of a chunk are never looked at to find its end, and they are read whether or not the
command is refused, so that they are never taken for commands.
"""

from dataclasses import dataclass, field

from postroad_smtp.server.data import Room
from postroad_smtp.server.errors import DataError, FloodError, NoMemoryError, TooLargeError
from postroad_smtp.server.lineends import LineEnds, RepairedContent, from_chunks
from postroad_smtp.server.stream import SmtpStream

_MAX_DIGITS = 18


@dataclass(slots=True)
class Chunks:
    """What has come of a message by BDAT; `error` when it can no longer be accepted.

    `content` is what is kept of the `size` octets that have come.
    """

    content: bytearray = field(default_factory=bytearray)
    error: DataError | None = None
    size: int = 0

    async def read(
        self, stream: SmtpStream, size: int, limit: int, room: Room, kept: int | None = None
    ) -> None:
        """Read one chunk of `size` octets; of the whole message at most `kept` are kept.

        Raises:
            TooLargeError, NoMemoryError: the message is over the limit, or there is no room for
                it; the chunk has been read and dropped, and so will the next ones be.
            FloodError: the chunk is far beyond the limit and was not read.
            ClientGoneError: the connection ended within the chunk.
        """
        if self.error is None and self.size + size > limit:
            self._fail(TooLargeError())
        while size and self.error is None:
            octets = await stream.take_up_to(size)
            size -= len(octets)
            self.size += len(octets)
            if kept is not None:
                octets = octets[: max(0, kept - len(self.content))]
            # Room is taken for what has come: a number costs the client nothing.
            if room.grow(len(self.content) + len(octets)):
                self.content += octets
            else:
                self._fail(NoMemoryError())
        if self.error is not None:
            await skip(stream, size, limit)
            raise self.error

    def _fail(self, error: DataError) -> None:
        self.error = error
        self.content = bytearray()

    def message(self, line_ends: LineEnds = LineEnds.REPAIR) -> RepairedContent:
        """Return the whole message, its last line ended if the client did not.

        Raises:
            LineEndsError: it has line ends, or a NUL, that may not stand in a message.
        """
        return from_chunks(self.content, line_ends)


async def skip(stream: SmtpStream, size: int, limit: int) -> None:
    """Read `size` octets and drop them.

    Raises:
        FloodError: `size` is more than twice `limit`; nothing was read.
        ClientGoneError: the connection ended first.
    """
    if size > 2 * limit:
        raise FloodError
    while size:
        size -= len(await stream.take_up_to(size))


def parse_bdat(argument: str) -> tuple[int, bool] | None:
    """Return the size in octets and whether it is the last chunk; None for bad syntax."""
    words = argument.split()
    if not 1 <= len(words) <= 2 or len(words[0]) > _MAX_DIGITS:
        return None
    if not (words[0].isascii() and words[0].isdigit()):
        return None
    if len(words) == 2 and words[1].upper() != "LAST":
        return None
    return int(words[0]), len(words) == 2
