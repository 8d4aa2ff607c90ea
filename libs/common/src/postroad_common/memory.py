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


def _find_malloc_trim() -> Callable[[int], int] | None:
    """Return the `malloc_trim` of glibc; there is none elsewhere (musl, macOS)."""
    try:
        function: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return function


_malloc_trim = _find_malloc_trim()


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
