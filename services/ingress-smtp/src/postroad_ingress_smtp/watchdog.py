"""One timer per connection: time-outs by phase, and the least rate at which a message may come."""

import asyncio
from collections.abc import Callable

from postroad_ingress_smtp.limits import SmtpLimits
from postroad_smtp.server.stream import SmtpStream


def _nothing(_slow: bool) -> None:  # noqa: FBT001 - the one argument of this call-back
    """In place of the call-back that refers to the connection."""


class Watchdog:
    """Calls `expired(slow)` when the phase it was last told of has taken too long.

    Setting a new phase costs no timer: the running one, if it fires too early, looks again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stream: SmtpStream,
        limits: SmtpLimits,
        expired: Callable[[bool], None],
    ) -> None:
        self._loop = loop
        self._stream = stream
        self._limits = limits
        self._expired = expired
        self._handle: asyncio.TimerHandle | None = None
        self._fires = 0.0
        self._deadline = 0.0
        self._cap = loop.time() + limits.login_seconds
        self._data_since = 0.0
        self._seen = 0

    def uncap(self) -> None:
        """Bound the session as a whole no longer: the client has logged in, or need not."""
        self._cap = float("inf")

    def expect(self, seconds: float) -> None:
        """Begin a new phase that may last `seconds`."""
        self._data_since = 0.0
        self._set(self._loop.time() + seconds)

    def expect_data(self) -> None:
        """Expect a message now, bounded by silence and by the rate over each `data_seconds`."""
        now = self._loop.time()
        self._data_since = now
        self._seen = self._stream.received
        self._set(now + self._limits.data_seconds)

    def rest(self) -> None:
        """Let nothing expire: the client waits for us."""
        self._data_since = 0.0
        self._deadline = float("inf")

    def stop(self) -> None:
        """No more calls."""
        self._expired = _nothing
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._deadline = float("inf")

    def _set(self, deadline: float) -> None:
        self._deadline = min(deadline, self._cap)
        if self._handle is None or self._fires > self._deadline:
            self._schedule(self._deadline)

    def _schedule(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._fires = when
        self._handle = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._loop.time()
        if self._deadline == float("inf"):
            return
        if now < self._deadline - 0.001:
            self._schedule(self._deadline)
            return
        if not self._data_since:
            self._expired(False)  # noqa: FBT003 - the one argument of this call-back
            return
        received = self._stream.received
        if received == self._seen:
            self._expired(False)  # noqa: FBT003 - as above
            return
        rate = (received - self._seen) / (now - self._data_since)
        if rate < self._limits.minimum_rate:
            self._expired(True)  # noqa: FBT003 - as above
            return
        self._data_since = now
        self._seen = received
        self._set(now + self._limits.data_seconds)
