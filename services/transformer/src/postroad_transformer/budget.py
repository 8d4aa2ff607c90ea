"""What may be done on the event loop, where all mail waits: some tens of milliseconds at most.

What would take longer raises `HeavyError` before it begins and is done in a process of its own.
"""

MAX_OCTETS = 65_536  # of all HTML of a message, encoded
MAX_TAGS = 3_000  # of an HTML text
MAX_SHEET = 32_768  # characters of style sheets
MAX_MATCHING = 25_000_000  # elements times the square of selectors, about a nanosecond each


class HeavyError(Exception):
    """The work is more than the event loop may do."""


def check_octets(size: int) -> None:
    """Check the size of all HTML of a message, encoded, in octets.

    Raises:
        HeavyError: it is too large for the event loop.
    """
    if size > MAX_OCTETS:
        raise HeavyError("octets")


def check_tags(count: int) -> None:
    """Check the number of tags of an HTML text.

    Raises:
        HeavyError: they are too many for the event loop.
    """
    if count > MAX_TAGS:
        raise HeavyError("tags")


def check_sheets(size: int) -> None:
    """Check the size of style sheets, in characters, before they are read.

    Raises:
        HeavyError: they are too large for the event loop.
    """
    if size > MAX_SHEET:
        raise HeavyError("style sheets")


def check_matching(elements: int, selectors: int) -> None:
    """Check what it may cost at worst to match selectors to elements.

    The engine takes quadratic time in the selectors that match one element.

    Raises:
        HeavyError: it is too much for the event loop.
    """
    if elements * selectors**2 > MAX_MATCHING:
        raise HeavyError("selectors")
