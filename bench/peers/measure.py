"""Measures one way in: as fast as it takes mail, or at a given rate."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.load import prepared, quantile, send_all
from bench.mails import Kind, mail_maker
from bench.measure import idle_share, settle
from bench.peers.footprint import sampled
from bench.peers.peer import Entrance, PeerError
from bench.peers.sink import CountingSink, Counts
from bench.report import say
from bench.usage import Watch

_DOMAINS = 50
_MEGABYTE = 1024 * 1024
_WARM_UP = 400
_LOOK_EVERY = 0.1  # seconds
_STALLED_SECONDS = 30.0  # without any delivery


@dataclass(frozen=True)
class Setting:
    """How all are measured: `count` messages at most, sent within `seconds`."""

    connections: int
    count: int
    seconds: float
    pipelined: bool = False


@dataclass(frozen=True)
class Measured:
    """One run through one way in. Latencies are from MAIL to the reply, or from when it was due."""

    label: str
    accepted: int
    accepted_per_s: float
    delivered_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    memory_mb: float
    lost: int
    duplicated: int
    refused: int


class Course:
    """Measures one after the other; no two messages have the same number."""

    def __init__(self, sink: CountingSink, setting: Setting) -> None:
        self._sink = sink
        self._setting = setting
        self._make = mail_maker(Kind.HTML, _DOMAINS)
        self._next = 0

    async def run(self, entrance: Entrance, rate: float | None = None) -> Measured:
        """Warm up, send, and wait for what was accepted and what comes after it.

        Raises:
            SmtpError: the relay cannot be reached or refuses everything.
            PeerError: the mails of the warm-up were not delivered.
        """
        setting, watch = self._setting, Watch(entrance.groups)
        pids = list(itertools.chain.from_iterable(entrance.groups.values()))
        await self._warm_up(entrance)
        idle = await idle_share(entrance.groups)
        count = setting.count if rate is None else min(setting.count, int(rate * setting.seconds))
        say(f"{entrance.label}: sending {count}" + (f" at {rate:.0f}/s" if rate else ""))
        numbers = self._numbers(count)
        mails = prepared(self._make, numbers)
        await self._sink.begin(numbers)
        async with sampled(pids) as peak:
            before, began = watch.read().cpu_total, time.monotonic()
            sent = await send_all(
                entrance.server,
                mails,
                setting.connections,
                setting.seconds,
                pipelined=setting.pipelined,
                rate=rate,
            )
            counts = await self._delivered(sent.accepted)
            await settle(watch, idle)
            used = watch.read().cpu_total - before - idle * (time.monotonic() - began)
        if gone := watch.missing():
            raise PeerError(f"ended while it was measured: {', '.join(gone)}")
        counts = await self._sink.counts()
        last = counts.last or sent.first
        return Measured(
            label=entrance.label,
            accepted=sent.accepted,
            accepted_per_s=sent.per_second,
            delivered_per_s=counts.messages / max(last - sent.first, 1e-6),
            p50_ms=1000 * quantile(sent.transactions, 0.5),
            p99_ms=1000 * quantile(sent.transactions, 0.99),
            cpu_ms=1000 * used / max(1, sent.accepted),
            memory_mb=peak.octets / _MEGABYTE,
            lost=max(0, sent.accepted - counts.messages),
            duplicated=counts.copies,
            refused=sum(sent.refusals.values()),
        )

    async def _warm_up(self, entrance: Entrance) -> None:
        say(f"{entrance.label}: warming up")
        numbers = self._numbers(_WARM_UP)
        await self._sink.begin(numbers)
        setting = self._setting
        sent = await send_all(
            entrance.server,
            prepared(self._make, numbers),
            setting.connections,
            setting.seconds,
            pipelined=setting.pipelined,
        )
        counts = await self._delivered(sent.accepted)
        if counts.messages < sent.accepted or not sent.accepted:
            raise PeerError(f"only {counts.messages} of {sent.accepted} mails came out at first")
        await asyncio.sleep(2)

    def _numbers(self, count: int) -> range:
        first = self._next
        self._next += count
        return range(first, first + count)

    async def _delivered(self, expected: int) -> Counts:
        """Wait until all have come, or no more do."""
        moved, seen = time.monotonic(), -1
        while True:
            counts = await self._sink.counts()
            now = time.monotonic()
            if counts.messages >= expected:
                return counts
            if counts.messages > seen:
                seen, moved = counts.messages, now
            elif now - moved > _STALLED_SECONDS:
                return counts
            await asyncio.sleep(_LOOK_EVERY)


def half_of_own(measured: Measured) -> float:
    """Return half of what one can bear for long: what it takes in and delivers per second."""
    return min(measured.accepted_per_s, measured.delivered_per_s) / 2


def half_of_slowest(measured: Sequence[Measured]) -> float:
    """Return half the accepted rate of the slowest: a load that all can bear."""
    return min(one.accepted_per_s for one in measured) / 2
