"""A node that has fallen silent is noticed within seconds.

A machine that loses its power, its network or its turn closes nothing. Heartbeats of 5 s tell only
after 15 to 18. So a connection from which nothing has come for a second asks the node for something
that it answers alone, whatever has become of the others, and then waits for any octet.
"""

import asyncio
import contextlib
from collections.abc import Callable

import aio_pika.exceptions
from aio_pika.abc import AbstractChannel, AbstractConnection

LOOK_SECONDS = 0.5
ASK_AFTER = 2
"""Looks without anything new after which the node is asked."""
SILENT_AFTER = 7
"""Looks without anything new after which the node is silent. One without room sends heartbeats, one
in 2.5 seconds, and answers nothing: that is not silence."""


class Listener:
    """Listens on one connection; `heard` tells when something last came."""

    def __init__(self, connection: AbstractConnection, heard: Callable[[], float]) -> None:
        self._connection = connection
        self._heard = heard
        self._channel: AbstractChannel | None = None

    async def until_silent(self, looks: int = SILENT_AFTER) -> None:
        """Return when nothing has come for `looks` looks.

        They are counted instead of seconds: while this process has no turn it cannot hear.
        """
        asking: asyncio.Task[None] | None = None
        last, missed = self._heard(), 0
        try:
            while missed < looks:
                await asyncio.sleep(LOOK_SECONDS)
                now = self._heard()
                missed = 0 if now > last else missed + 1
                last = now
                if missed >= ASK_AFTER and (asking is None or asking.done()):
                    asking = asyncio.create_task(self._ask())
        finally:
            if asking is not None:
                asking.cancel()

    async def _ask(self) -> None:
        with contextlib.suppress(OSError, RuntimeError, aio_pika.exceptions.AMQPError):
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._connection.channel(publisher_confirms=False)
            await self._channel.set_qos(prefetch_count=1)
