"""Recognises machines by several requests for one message, and stops floods.

A bounded memory of what was asked lately, per message: a scanner asks with HEAD before it asks
with GET, and follows several links within a second, which no reader can. The first click of such a
burst has been recorded by then, so the answer names the earlier hits that must be amended.
The memory belongs to one process; replicas that share a port each see a part of a burst.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from postroad_common.caching import Cache

HEAD_FIRST = "head-before-get"
BURST = "links-within-a-second"

BURST_SECONDS = 1.0
HEAD_SECONDS = 60.0
FLOOD_SECONDS = 3600.0
_MAX_HEADS = 64
_MAX_CLICKS = 64


@dataclass(slots=True)
class _Recent:
    since: float
    hits: int = 0
    heads: dict[int, float] = field(default_factory=dict)
    clicks: list[tuple[float, int, str]] = field(default_factory=list)
    last_burst: float = float("-inf")


@dataclass(frozen=True, slots=True)
class ClickVerdict:
    """What the memory says of one click."""

    machine: str = ""
    amend: Sequence[str] = ()
    """Ids of earlier hits that turn out to be of the same machine."""


class BurstDetector:
    """What was asked lately, for at most `capacity` messages; times in Unix seconds."""

    def __init__(self, capacity: int = 20_000, flood_limit: int = 10_000) -> None:
        self._flood_limit = flood_limit
        self._messages: Cache[str, _Recent] = Cache(capacity)

    def _recent(self, message: str, now: float) -> _Recent:
        recent = self._messages.get(message)
        if recent is None:
            recent = _Recent(now)
            self._messages.put(message, recent)
        return recent

    def admit(self, message: str, now: float) -> bool:
        """Whether one more hit of this message is to be recorded.

        A link can be asked for without end by anybody who has the mail. Beyond the limit per
        message and hour the reader is still served but nothing is written.
        """
        recent = self._recent(message, now)
        if now - recent.since >= FLOOD_SECONDS:
            recent.since, recent.hits = now, 0
        recent.hits += 1
        return recent.hits <= self._flood_limit

    def head(self, message: str, number: int, now: float) -> None:
        """Remember a HEAD request for link `number`."""
        heads = self._recent(message, now).heads
        if len(heads) >= _MAX_HEADS:
            heads.clear()
        heads[number] = now

    def click(self, message: str, number: int, hit: str, now: float) -> ClickVerdict:
        """Remember the click `hit` on link `number`; return what it gives away."""
        recent = self._recent(message, now)
        machine = ""
        if now - recent.heads.get(number, float("-inf")) <= HEAD_SECONDS:
            machine = HEAD_FIRST
        earlier = [click for click in recent.clicks if now - click[0] <= BURST_SECONDS]
        amend: tuple[str, ...] = ()
        if any(click[1] != number for click in earlier):
            machine = machine or BURST
            amend = tuple(identifier for _, _, identifier in earlier if identifier)
            # Amended once is enough: only their place in time is needed from here on.
            earlier = [(time, place, "") for time, place, _ in earlier]
            hit = ""
        recent.clicks = [*earlier[-_MAX_CLICKS:], (now, number, hit)]
        return ClickVerdict(machine, amend)
