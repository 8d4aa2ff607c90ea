"""The room for stored bodies in this process: attempts at large mail wait for each other.

A stored body is in memory as long as an attempt with it goes on, which a slow receiver can make
long. So that many such receivers do not take all the memory, only so many octets are out at a time.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from postroad_common.schemas.outbound import OutboundMessage

MOST_OCTETS = 134_217_728
WITHIN = 60.0  # seconds that an attempt waits for room


class BodyRoomFullError(Exception):
    """There was no room for long."""


class BodyRoom:
    """One per process. A body that several messages share counts once; one always has room."""

    def __init__(self, most: int = MOST_OCTETS, *, within: float = WITHIN) -> None:
        self._most = most
        self._within = within
        self._octets = 0
        self._users: dict[str, int] = {}
        self._line: deque[object] = deque()
        self._moved = asyncio.Event()

    @asynccontextmanager
    async def hold(self, message: OutboundMessage) -> AsyncIterator[None]:
        """Have room for the body of `message` meanwhile; wait for it in turn.

        Raises:
            BodyRoomFullError: there was none in time.
        """
        if message.body is None:
            yield  # it is in the frame, and counted there
            return
        file, octets = message.body.file, message.body.size
        try:
            async with asyncio.timeout(self._within):
                await self._enter(file, octets)
        except TimeoutError:
            raise BodyRoomFullError(
                f"no room for {octets} octets within {self._within:g} s"
            ) from None
        try:
            yield
        finally:
            self._leave(file, octets)

    async def _enter(self, file: str, octets: int) -> None:
        place = object()
        self._line.append(place)
        try:
            while self._line[0] is not place or not self._has_room(file, octets):
                self._moved.clear()
                await self._moved.wait()
            if file not in self._users:
                self._octets += octets
            self._users[file] = self._users.get(file, 0) + 1
        finally:
            self._line.remove(place)
            self._moved.set()

    def _leave(self, file: str, octets: int) -> None:
        self._users[file] -= 1
        if not self._users[file]:
            del self._users[file]
            self._octets -= octets
            self._moved.set()

    def _has_room(self, file: str, octets: int) -> bool:
        return file in self._users or not self._users or self._octets + octets <= self._most
