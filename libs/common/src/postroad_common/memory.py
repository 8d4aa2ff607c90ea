"""Gives memory back: cycles that only a full collection finds, and what malloc keeps for later.

A failed TLS handshake leaves reference cycles with buffers behind. The full collection that would
find them comes late in a process with many long-lived objects, and malloc keeps freed pages. So a
flood of hostile sessions would leave a process larger than it was, for no reason.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable

INTERVAL = 20.0  # seconds
YOUNG = 5_000
"""More than some mails make, so that a collection in their midst finds little alive: with Python's
own 700 collections take a twentieth of the time of a service under load."""
_M_ARENA_MAX = -8  # of malloc.h


def _of_glibc(name: str) -> Callable[..., int] | None:
    """Return a function of glibc; there is none elsewhere (musl, macOS)."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    return function


_malloc_trim = _of_glibc("malloc_trim")


def use_one_arena() -> None:
    """Have all threads share one arena of malloc; call it before there are any.

    `malloc_trim` leaves the end of every other arena as it is, so a password that was hashed in a
    thread left 19 MB behind. Threads wait for the interpreter's lock anyway, not for malloc's.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def collect_seldom() -> None:
    """Look for garbage after `YOUNG` new objects; call it when what stays is there, and frozen.

    Cycles are few, and `keep_small` finds them.
    """
    gc.freeze()  # what is here now stays; do not look at it again in each collection
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


def give_back() -> None:
    """Collect what is garbage and return free pages to the system. Takes some milliseconds."""
    gc.collect()
    if _malloc_trim is not None:
        _malloc_trim(0)


async def keep_small() -> None:
    """Give memory back every `INTERVAL` seconds, for ever."""
    while True:
        await asyncio.sleep(INTERVAL)
        give_back()
