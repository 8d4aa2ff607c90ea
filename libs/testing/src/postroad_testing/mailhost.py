"""A receiving server that answers each command as told, and remembers what it took."""

import asyncio
import base64

CLOSE = "[close]"


class MailHost:
    """A server that answers each of `MAIL RCPT DATA DOT` as told; `[close]` hangs up.

    It takes at most `most` recipients in a transaction and answers `excess` to the others; `ill`
    are recipients with replies of their own. MAIL and RCPT with one of the words in `unknown` are
    refused with 555. Of more than `most_sessions` at the same time those that come last are
    refused; `gate` holds back the reply to the final dot while it is closed.
    """

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.ill: dict[str, str] = {}
        self.unknown: tuple[str, ...] = ()
        self.most = 1000
        self.excess = "452 4.5.3 too many recipients"
        self.sessions = 0
        self.open = 0
        self.most_sessions = 1000
        self.refused = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.taken: list[list[str]] = []
        self.messages: list[bytes] = []
        self.commands: list[str] = []
        self.logins: list[str] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int) -> int:
        """Listen; returns the port, which is any free one for 0."""
        self._server = await asyncio.start_server(self._serve, address, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Refuse connections and drop those that are open."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
        self.sessions += 1
        try:
            if self.open >= self.most_sessions:
                self.refused += 1
                writer.write(b"421 4.7.0 too many connections\r\n")
                await writer.drain()
            else:
                writer.write(b"220 host\r\n")
                self.open += 1
                try:
                    await self._talk(reader, writer)
                finally:
                    self.open -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients: list[str] = []
        login, mailing = "", False
        while True:
            line = await self._read(reader)
            verb, address = line[:4].upper(), line.partition("<")[2].partition(">")[0]
            reply = self.answers.get(verb, "250 2.0.0 ok")
            if verb in ("MAIL", "RCPT") and any(word in line for word in self.unknown):
                self.commands.append(line)
                mailing = mailing and verb == "RCPT"
                reply = "555 5.5.4 unsupported option"
            elif verb == "AUTH":
                login = base64.b64decode(line.split()[2]).split(b"\0")[1].decode()
                reply = "235 2.7.0 ok"
            elif verb == "MAIL":
                recipients, mailing = [], reply.startswith("2")
                self.commands.append(line)
            elif verb == "RCPT":
                reply = self.ill.get(address, reply) if mailing else "503 5.5.1 MAIL first"
                if mailing and len(recipients) >= self.most:
                    reply = self.excess
                if reply.startswith("2"):
                    recipients.append(address)
            elif verb == "DATA":
                reply = self.answers.get(verb, "354 go" if recipients else "503 5.5.1 nobody")
            if not await self._say(writer, reply):
                return
            if verb == "DATA" and reply.startswith("354"):
                message = (await reader.readuntil(b"\r\n.\r\n")).removesuffix(b".\r\n")
                await self.gate.wait()
                reply = self.answers.get("DOT", "250 2.0.0 queued")
                if reply.startswith("2"):
                    self.taken.append(recipients)
                    self.messages.append(message)
                    self.logins.append(login)
                if not await self._say(writer, reply):
                    return

    async def _read(self, reader: asyncio.StreamReader) -> str:
        return (await reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")

    async def _say(self, writer: asyncio.StreamWriter, reply: str) -> bool:
        if reply == CLOSE:
            return False
        writer.write(f"{reply}\r\n".encode())
        await writer.drain()
        return not reply.startswith("421")


class SloppyMailHost(MailHost):
    """One that offers PIPELINING and answers what comes together with `250 ok`, unread."""

    def __init__(self) -> None:
        super().__init__(EHLO="250-host\r\n250 PIPELINING")

    async def _read(self, reader: asyncio.StreamReader) -> str:
        octets = await reader.read(65536)
        count = octets.count(b"\r\n")
        if count > 1:
            self.answers["SLOP"] = "\r\n".join(["250 ok"] * count)
            return "SLOP"
        if not octets:
            raise asyncio.IncompleteReadError(octets, None)
        return octets.decode().removesuffix("\r\n")
