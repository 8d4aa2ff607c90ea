"""The model of a receiver, speaking SMTP on a loopback socket, as far away as one likes."""

import asyncio
import contextlib
import random
from collections import deque

from bench.throttle.simulation import Receiver, Result

_MOST_SECONDS = 600


class Line:
    """Bytes that arrive later, in order, however many are on their way: distance, not slowness."""

    def __init__(self, seconds: float, arrive: asyncio.StreamReader | asyncio.StreamWriter) -> None:
        self._seconds = seconds
        self._arrive = arrive
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, data: bytes) -> None:
        """Send `data` on its way; empty for the end of what is to be read."""
        if self._seconds <= 0.0:
            self._deliver(data)
            return
        self._under_way.append((self._loop.time() + self._seconds, data))
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        while self._under_way:
            left = self._under_way[0][0] - self._loop.time()
            if left > 0.0:
                self._timer = self._loop.call_later(left, self._due)
                return
            self._deliver(self._under_way.popleft()[1])

    def _deliver(self, data: bytes) -> None:
        if isinstance(self._arrive, asyncio.StreamReader):
            if data:
                self._arrive.feed_data(data)
            else:
                self._arrive.feed_eof()
        elif data and not self._arrive.is_closing():
            self._arrive.write(data)


class ScriptedReceiver:
    """Answers as `model` says; `distance` is the time (seconds) that bytes take in one direction.

    The model's own round trip is not used: here time passes by itself.
    """

    def __init__(self, model: Receiver, *, distance: float = 0.0, seed: int = 1) -> None:
        self.model = model
        seconds = range(_MOST_SECONDS)
        self.result = Result(
            timeline=[0 for _ in seconds],
            deferrals=[0 for _ in seconds],
            windows=[0 for _ in seconds],
        )
        self._distance = distance
        self._dice = random.Random(seed)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._conversations: set[asyncio.Task[None]] = set()

    @property
    def now(self) -> float:
        """Seconds since it was made."""
        return self._loop.time() - self._began

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        conversation = asyncio.current_task()
        assert conversation is not None  # noqa: S101 - a coroutine is always in one
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)
        near = asyncio.StreamReader()
        pump = asyncio.create_task(self._pump(reader, Line(self._distance, near)))
        out = Line(self._distance, writer)
        welcome = self.model.connect(self.now)
        try:
            if welcome:
                out.put(b"220 receiver.test\r\n")
                await self._talk(near, out)
            else:
                self._refuse(out)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the sender is done
        finally:
            self.model.open -= welcome
            await asyncio.sleep(self._distance)
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump
            writer.close()

    async def ended(self, patience: float) -> None:
        """Wait for the connections that are left, for so many seconds."""
        if self._conversations:
            await asyncio.wait(self._conversations, timeout=patience)

    async def _pump(self, reader: asyncio.StreamReader, line: Line) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                line.put(data)
        line.put(b"")

    def _refuse(self, out: Line) -> None:
        self.result.refused_connections += 1
        out.put(b"421 4.7.0 too many connections\r\n")

    async def _talk(self, reader: asyncio.StreamReader, out: Line) -> None:
        welcome = False
        while True:
            verb = (await reader.readuntil(b"\r\n"))[:4].upper()
            if verb == b"EHLO":
                out.put(b"250-receiver.test\r\n250 PIPELINING\r\n")
            elif verb == b"MAIL":
                if self._dice.random() < self.model.drops:
                    return
                if self.model.is_crowded(self.now):
                    self._refuse(out)
                    return
                out.put(b"250 2.1.0 ok\r\n")
            elif verb == b"RCPT":
                reply = self._recipient()
                welcome = reply.startswith(b"250")
                out.put(reply)
            elif verb == b"DATA" and welcome:
                out.put(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                await self._take()
                out.put(b"250 2.0.0 taken\r\n")
            elif verb == b"DATA":
                out.put(b"554 5.5.1 no recipients\r\n")
            elif verb == b"QUIT":
                out.put(b"221 2.0.0 bye\r\n")
                return
            else:
                out.put(b"250 2.0.0 ok\r\n")

    def _recipient(self) -> bytes:
        now, result = self.now, self.result
        taken = self.model.take(now)
        result.attempts.append((now, taken))
        if not taken:
            result.deferred += 1
            result.deferrals[int(now)] += 1
            return b"450 4.7.1 slow down\r\n"
        result.windows[int(now)] = self.model.open
        if self._dice.random() >= self.model.noise:
            return b"250 2.1.5 ok\r\n"
        result.excused += 1
        result.timeline[int(now)] += 1
        if self._dice.random() < 0.5:
            return b"452 4.2.2 mailbox full\r\n"
        return b"450 4.2.0 greylisted, please try again in 300 seconds\r\n"

    async def _take(self) -> None:
        self.model.busy += 1
        try:
            await asyncio.sleep(self.model.duration(self.now, self._dice))
        finally:
            self.model.busy -= 1
        self.result.delivered += 1
        self.result.timeline[int(self.now)] += 1
