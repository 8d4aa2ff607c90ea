"""A web server on loopback whose answers are octets, also those that no good server gives."""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field


def http_answer(
    body: bytes = b"", status: str = "200 OK", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return an answer with its length; `headers` come before the others."""
    lines = [f"{name}: {value}" for name, value in (headers or {}).items()]
    head = [f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


@dataclass
class FileServer:
    """Answers a path with its octets and closes; `got` are the requests, by path.

    What is in `held` is answered when it is released; in `stalled`, after its octets the
    connection stays open.
    """

    answers: dict[str, bytes] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    stalled: set[str] = field(default_factory=set)
    got: Counter[str] = field(default_factory=Counter)
    heads: list[str] = field(default_factory=list)
    port: int = 0
    at_once: int = 0
    most_at_once: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Return the URL of a path."""
        return f"{scheme}://{host}:{self.port}{path}"

    def release(self) -> None:
        """Answer all that was held."""
        self._released.set()

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["FileServer"]:
        """Serve on a port of its own."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.release()
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            self.heads.append(head)
            self.got[path] += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            if path in self.held:
                await self._released.wait()
            self.at_once -= 1
            writer.write(self.answers.get(path, http_answer(status="404 Not Found")))
            await writer.drain()
            if path in self.stalled:
                await reader.read()  # until the client gives up
        writer.close()
