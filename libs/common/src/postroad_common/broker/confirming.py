"""One channel with confirms, and what was heard on it."""

import math

from aiormq.channel import Channel as RawChannel

_MOST_KNOWN = 256


class ConfirmingChannel:
    """Keeps count of what waits for a confirm. Times are of `time.perf_counter`."""

    __slots__ = ("_awaited", "_known", "_silent_since", "heard", "is_proven", "raw")

    def __init__(self, raw: RawChannel) -> None:
        self.raw = raw
        self.is_proven = False
        """Whether it has confirmed anything."""
        self.heard = -math.inf
        """When it last did, or answered a question."""
        self._awaited = 0
        self._silent_since: float | None = None
        self._known: set[str] = set()

    @property
    def is_blocked(self) -> bool:
        """Whether the broker has said that it takes nothing for now: disk or memory is short.

        It says so of each connection at the first publication, and again when that is over.
        """
        waiting = self.raw.connection.ready()
        try:
            waiting.send(None)
        except StopIteration:  # the library had nothing to wait for
            return False
        finally:
            waiting.close()
        return True

    def stall(self, now: float) -> float:
        """Return for how many seconds something has waited and nothing was confirmed."""
        if self._silent_since is None:
            return 0.0
        if not self._awaited and not self.raw.confirmations:
            self._silent_since = None  # what was overdue was answered late
            return 0.0
        return now - self._silent_since

    def knows(self, queue: str) -> bool:
        """Whether it has published to this queue, or to so many that it need not know more."""
        return queue in self._known or len(self._known) >= _MOST_KNOWN

    def begin(self, now: float) -> None:
        """Note that a publication is awaited from now on."""
        self._awaited += 1
        if self._silent_since is None:
            self._silent_since = now

    def confirmed(self, now: float, queue: str) -> None:
        """Note that one was confirmed; `queue` is empty where it went by way of an exchange."""
        self._awaited -= 1
        self._silent_since = now if self._awaited else None
        self.is_proven = True
        self.heard = now
        if queue and queue not in self._known:
            self._known.add(queue)

    def given_up(self, *, overdue: bool) -> None:
        """Note that one is not awaited any more: it is `overdue`, or its caller has gone."""
        self._awaited -= 1
        if not self._awaited and not overdue:
            self._silent_since = None
