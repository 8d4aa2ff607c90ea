"""A receiving end of webhooks, over a real socket."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"


@dataclass
class EndPoint:
    """An HTTP server that notes what it gets and answers as told."""

    answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
    silent: bool = False
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    delay: float = 0.0
    per_event: float = 0.0
    most_events: int = 10_000
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Answer all that it has been silent about."""
        self._released.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the calls of one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                self.got.append((headers, body))
                if self.silent:
                    await self._released.wait()
                events = body.count(b'"id":')
                await asyncio.sleep(self.delay + self.per_event * events)
                self.at_once -= 1
                too_many = events > self.most_events
                writer.write(_TOO_LARGE if too_many else self.answer)
                await writer.drain()
        writer.close()


Open: TypeAlias = Callable[..., Awaitable[EndPoint]]
"""Opens an end point at a free port, with a TLS context if one is given; it has the port then."""


@contextlib.asynccontextmanager
async def opening_end_points() -> AsyncIterator[Open]:
    """Yield what opens end points, which are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def listen(end_point: EndPoint, tls: ssl.SSLContext | None = None) -> EndPoint:
            server = await asyncio.start_server(end_point.serve, "127.0.0.1", 0, ssl=tls)
            end_point.port = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
            return end_point

        yield listen
