"""A receiving server that plays a dialog with every client and checks what it says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Self

from postroad_testing.dialog import Dialog, DialogStep, read_dialog
from postroad_testing.waiting import PATIENCE

_END = b"\r\n.\r\n"
_BY_SERVER = ("<-", "<=")


class DialogServer:
    """A server on loopback. `messages` is what it was sent, final dot included.

    Lines that the server sends one after the other go out together. What a client says otherwise
    than in the dialog fails the test when the server is left.
    """

    def __init__(self, dialog: Dialog, context: ssl.SSLContext | None = None) -> None:
        self._steps = dialog.steps
        self._context = context
        self.messages: list[bytes] = []
        self.mismatches: list[str] = []
        self.connections = 0
        self.port = 0
        self._done = asyncio.Event()
        self._stop = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close, and fail if a client spoke otherwise than in the dialog."""
        self._stop.set()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.mismatches and error is None:
            raise AssertionError("\n".join(self.mismatches))

    async def finished(self) -> None:
        """Wait until one client has played the dialog to its end."""
        async with asyncio.timeout(PATIENCE):
            await self._done.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("no task")
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._play(reader, writer)
            self._done.set()
        except asyncio.CancelledError:
            return  # the test is over
        finally:
            writer.close()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        steps = list(self._steps)
        while steps:
            said = list(takewhile(lambda step: step.verb in _BY_SERVER, steps))
            writer.write(b"".join(_octets(step) for step in said))
            del steps[: len(said)]
            if not steps:
                break
            step = steps.pop(0)
            try:
                if not await self._do(step, reader, writer):
                    return
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self.mismatches.append(f"{step}\nthe client went away: {error!r}")
                return
        await writer.drain()

    async def _do(
        self, step: DialogStep, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Do or check a step, and say whether the connection is still there."""
        await writer.drain()
        match step.verb:
            case "closed":
                return False
            case "reset":
                writer.transport.abort()
                return False
            case "silence":
                await self._stop.wait()
            case "tls":
                return await self._secure(step, writer)
            case "content":
                self.messages.append(await reader.readuntil(_END))
            case "part":
                await reader.readexactly(int(step.text))
            case "gone":
                rest = await reader.read(100)
                self._check(step, not rest, rest)
            case "->" | "~>":
                line = (await reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")
                good = line == step.text if step.verb == "->" else line.startswith(step.text)
                self._check(step, good, line)
            case _:
                self.mismatches.append(f"{step}\na server cannot play this")
        return True

    async def _secure(self, step: DialogStep, writer: asyncio.StreamWriter) -> bool:
        if self._context is None:
            self.mismatches.append(f"{step}\nthe server has no certificate")
            return False
        try:
            await writer.start_tls(self._context)
        except (ssl.SSLError, ConnectionError):
            return False  # the client did not like the certificate
        return True

    def _check(self, step: DialogStep, good: bool, found: str | bytes) -> None:  # noqa: FBT001
        if not good:
            self.mismatches.append(f"{step}\ngot {found!r}")


def _octets(step: DialogStep) -> bytes:
    return step.octets if step.verb == "<=" else step.text.encode() + b"\r\n"


Start = Callable[..., Awaitable[DialogServer]]


@asynccontextmanager
async def dialog_servers(folder: Path, context: ssl.SSLContext | None) -> AsyncIterator[Start]:
    """Yield what starts a server for a dialog of `folder`, by its name and variables."""
    async with AsyncExitStack() as stack:

        async def start(name: str, **variables: str) -> DialogServer:
            dialog = read_dialog(folder / f"{name}.dialog", variables)
            return await stack.enter_async_context(DialogServer(dialog, context))

        yield start
