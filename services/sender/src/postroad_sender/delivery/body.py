"""The octets of a message for one recipient: what its frame carries, or that and a stored body.

Stored bodies are fetched once for the many recipients that share them, and kept for a moment
within bounds.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import BodyReference

Fetch = Callable[[BodyReference], Awaitable[bytes]]
Pieces = tuple[bytes | memoryview, ...]

CACHE_SIZE = 67_108_864  # octets


class PatchError(ValueError):
    """Patches that do not fit the stored body."""


def assemble(message: OutboundMessage, head: memoryview, stored: bytes) -> Pieces:
    """`head`, then `stored` from `message.skip` on with the patches put in; nothing is copied.

    Raises:
        PatchError: their offsets do not ascend within the body.
    """
    view = memoryview(stored)
    at = message.skip
    if not 0 <= at <= len(view):
        raise PatchError("the part to skip is longer than the body")
    pieces: list[bytes | memoryview] = [head]
    for patch in message.patches:
        if not at <= patch.at <= len(view):
            raise PatchError("a patch lies outside the body or before the one before it")
        if patch.at > at:
            pieces.append(view[at : patch.at])
        pieces.append(patch.data)
        at = patch.at
    if at < len(view):
        pieces.append(view[at:])
    return tuple(pieces)


class BodyReader:
    """Gives the pieces of messages. `fetch` reads a stored body and may raise."""

    def __init__(self, fetch: Fetch, size: int = CACHE_SIZE) -> None:
        self._fetch = fetch
        self._size = size
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._octets = 0
        self._coming: dict[str, asyncio.Task[bytes]] = {}

    async def pieces(self, message: OutboundMessage, carried: memoryview) -> Pieces:
        """Return the whole message, in pieces.

        Raises:
            PatchError: see `assemble`; and whatever `fetch` raises.
        """
        if message.body is None:
            return (carried,)
        return assemble(message, carried, await self._get(message.body))

    async def _get(self, reference: BodyReference) -> bytes:
        kept = self._kept.get(reference.file)
        if kept is not None:
            self._kept.move_to_end(reference.file)
            return kept
        task = self._coming.get(reference.file)
        if task is None:
            task = asyncio.ensure_future(self._fetch(reference))
            self._coming[reference.file] = task
            task.add_done_callback(lambda done: self._came(reference.file, done))
        return await asyncio.shield(task)

    def _came(self, file: str, task: "asyncio.Task[bytes]") -> None:
        self._coming.pop(file, None)
        if task.cancelled() or task.exception() is not None:
            return
        octets = task.result()
        if len(octets) > self._size // 2:
            return
        self._kept[file] = octets
        self._octets += len(octets)
        while self._octets > self._size:
            _, oldest = self._kept.popitem(last=False)
            self._octets -= len(oldest)
