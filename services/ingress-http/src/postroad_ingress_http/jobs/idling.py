"""How long the worker waits when no job is due: longer each time, until somebody has an order."""

import asyncio
import random

_FIRST_SECONDS = 1.0
_MOST_SECONDS = 5.0


class Idling:
    """Waits one second, two, four, then five; less once `end` is called.

    An order ends the wait in the process that takes it, so the others only matter when that one
    dies.
    """

    def __init__(self) -> None:
        self._ordered = asyncio.Event()
        self.seconds = _FIRST_SECONDS

    def end(self) -> None:
        """Look for jobs at once."""
        self._ordered.set()

    def reset(self) -> None:
        """Begin with a short wait again: there was something to do."""
        self.seconds = _FIRST_SECONDS

    async def wait(self) -> None:
        """Return after a while, or when there is an order."""
        try:
            async with asyncio.timeout(self.seconds * random.uniform(0.8, 1.2)):
                await self._ordered.wait()
        except TimeoutError:
            self.seconds = min(_MOST_SECONDS, 2 * self.seconds)
        else:
            self._ordered.clear()
            self.reset()
