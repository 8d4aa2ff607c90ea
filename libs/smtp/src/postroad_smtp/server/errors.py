"""What can be wrong with a message while it is read."""


class DataError(Exception):
    """The message was read to its end and dropped."""


class TooLargeError(DataError):
    """It is larger than the limit."""


class NoMemoryError(DataError):
    """There was no room to keep it."""


class LineEndsError(DataError):
    """It has octets that are neither text nor a line end."""


class BareCrError(LineEndsError):
    """A CR without LF."""


class NulError(LineEndsError):
    """A NUL."""


class LoneDotError(LineEndsError):
    """A line of one dot beside a lone LF: a server that takes LF for a line end stops there."""


class DesyncError(Exception):
    """Where the message ends cannot be told any more: the connection must be closed."""


class UncleanEndError(DesyncError):
    """The client seems to wait for the reply to an end of data made of bare CR or LF."""


class FloodError(DesyncError):
    """The client goes on sending far beyond the limit."""
