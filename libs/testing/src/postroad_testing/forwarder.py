"""A TCP line to a server that a test cuts and mends, to make the server go away and come back."""

import asyncio

from yarl import URL

from postroad_testing.ports import free_port

_OCTETS = 65_536


class Forwarder:
    """Forwards a port of its own to a server while it is open; the port stays the same."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()

    @classmethod
    def to(cls, url: str, default_port: int) -> tuple["Forwarder", str]:
        """Return a forwarder to the server of `url`, and the URL that leads through it."""
        parsed = URL(url)
        made = cls(parsed.host or "127.0.0.1", parsed.port or default_port)
        return made, str(parsed.with_host("127.0.0.1").with_port(made.port))

    async def open(self, address: str = "127.0.0.1") -> None:
        """Listen, and forward what comes."""
        self._server = await asyncio.start_server(self._forward, address, self.port)

    async def close(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        """Let nothing through any more, and close nothing: as where a server has lost its power."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let everything through again, what waited first."""
        self._flows.set()

    def say(self, octets: bytes) -> None:
        """Send something to all clients as if it came from the server, which must say nothing."""
        for client in self._clients:
            client.write(octets)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("no task")
        self._tasks.add(task)
        self._clients.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            try:
                await asyncio.gather(
                    _copy(reader, far_writer, self._flows), _copy(far_reader, writer, self._flows)
                )
            finally:
                far_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the line was cut
        finally:
            writer.transport.abort()
            self._clients.discard(writer)
            self._tasks.discard(task)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event
) -> None:
    while data := await reader.read(_OCTETS):
        await flows.wait()
        writer.write(data)
        await writer.drain()
    writer.close()
