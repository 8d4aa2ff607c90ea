"""Waiting for a condition: the only kind of waiting in tests, which never sleep for a set time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE = 90.0
"""Seconds until a wait fails. Only a failing test waits so long."""
_POLL_SECONDS = 0.02


async def until(
    condition: Callable[[], bool | Awaitable[bool]], seconds: float = PATIENCE, what: str = ""
) -> None:
    """Return when `condition`, a function or a coroutine function, says true.

    Raises:
        TimeoutError: it did not within `seconds`; the text is `what`.
    """
    deadline = time.monotonic() + seconds
    try:
        async with asyncio.timeout(seconds):
            while True:
                value = condition()
                if value if isinstance(value, bool) else await value:
                    return
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        if time.monotonic() < deadline:
            raise  # of the condition itself
        raise TimeoutError(what or f"not so within {seconds:g} s") from error


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE, what: str = "") -> None:
    """Return when `condition` says true; for tests without an event loop.

    Raises:
        TimeoutError: it did not within `seconds`; the text is `what`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what or f"not so within {seconds:g} s")
        time.sleep(_POLL_SECONDS)
