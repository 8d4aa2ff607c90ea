"""A sink inside a test, and a client that speaks to it line by line.

For tests of the sink itself and of everything that sends mail: no process is started, and what the
sink holds can be looked at directly.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from postroad_sink.server import Sink, SinkLimits, SinkServer
from postroad_sink.web import web_application

_PATIENCE = 60.0  # seconds
_LOOK_EVERY = 0.005  # seconds


class SmtpDialog:
    """One SMTP connection. `say` sends lines in one go and returns one reply for each."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """Return the next reply, its lines joined by a line feed.

        Raises:
            ConnectionError: the connection ended instead.
        """
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), _PATIENCE)).decode()
            if not line:
                raise ConnectionError("the sink closed the connection")
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, *lines: str) -> list[str]:
        """Send all lines in one go; the replies, one for each."""
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        return [await self.reply() for _ in lines]

    async def ask(self, line: str) -> str:
        """Send a line; the reply."""
        return (await self.say(line))[0]

    async def code(self, line: str) -> int:
        """Send a line; the code of the reply."""
        return int((await self.ask(line))[:3])

    async def send(
        self, sender: str, recipient: str, content: str = "Subject: x\r\n\r\nx\r\n"
    ) -> str:
        """One whole transaction; the reply to its end, or the first refusal."""
        for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            reply = await self.ask(line)
            if reply[0] in "45":
                return reply
        return await self.ask(f"{content}.")

    async def ended(self) -> bool:
        """Whether the sink closes the connection without another word."""
        return await asyncio.wait_for(self.reader.read(), _PATIENCE) == b""

    async def secure(self) -> None:
        """Go over to TLS; the sink's certificate is not checked.

        Raises:
            ConnectionError: the sink refuses.
        """
        if await self.code("STARTTLS") != 220:
            raise ConnectionError("STARTTLS was refused")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        await self.writer.start_tls(context, server_hostname="mx.sink.test")


async def until(condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it did not in so many seconds.
    """
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- any condition can be asked for
            await asyncio.sleep(_LOOK_EVERY)


@dataclass
class RunningSink:
    """A sink that listens on `port`; `http` asks its web side, which has no port here."""

    sink: Sink
    server: SinkServer
    port: int
    http: httpx.AsyncClient
    dialogs: list[SmtpDialog] = field(default_factory=list)

    async def connect(self, host: str = "127.0.0.1", source: str | None = None) -> SmtpDialog:
        """Open a connection whose greeting is still to be read."""
        reader, writer = await asyncio.open_connection(
            host, self.port, local_addr=(source, 0) if source else None
        )
        self.dialogs.append(SmtpDialog(reader, writer))
        return self.dialogs[-1]

    async def greeted(self, host: str = "127.0.0.1", source: str | None = None) -> SmtpDialog:
        """Open a connection and say EHLO."""
        dialog = await self.connect(host, source)
        greeting = await dialog.reply()
        if not greeting.startswith("220 ") or await dialog.code("EHLO client.test") != 250:
            raise ConnectionError(f"the sink does not want us: {greeting}")
        return dialog

    async def behave(self, *rules: dict[str, Any]) -> None:
        """Put these rules in the place of all others."""
        (await self.http.put("/behaviour", json=list(rules))).raise_for_status()

    async def counts(self) -> dict[str, Any]:
        """Return what `GET /counts` answers."""
        counts: dict[str, Any] = (await self.http.get("/counts")).json()
        return counts

    async def messages(self, **query: str | float) -> list[dict[str, Any]]:
        """Return what `GET /messages` answers."""
        answer = await self.http.get("/messages", params=query, timeout=90)
        messages: list[dict[str, Any]] = answer.json()
        return messages


@asynccontextmanager
async def running_sink(
    *,
    limits: SinkLimits | None = None,
    tls_context: ssl.SSLContext | None = None,
    discard: bool = False,
    hosts: tuple[str, ...] = ("127.0.0.1",),
    seed: int | None = None,
) -> AsyncIterator[RunningSink]:
    """Run a sink on a free port of `hosts` in the running loop; STARTTLS only with a context."""
    sink = Sink(
        hostname="sink.test",
        limits=limits or SinkLimits(),
        tls_context=tls_context,
        discard=discard,
        seed=seed,
    )
    server = SinkServer(sink)
    port = await server.start(hosts, 0)
    web = httpx.ASGITransport(web_application(server))
    # Nothing leaves the process, so no time is spent on loading certificates.
    async with httpx.AsyncClient(
        transport=web,
        verify=False,  # noqa: S501
        base_url="http://sink.test",
    ) as http:
        running = RunningSink(sink, server, port, http)
        try:
            yield running
        finally:
            for dialog in running.dialogs:
                dialog.writer.close()
            await server.stop()
