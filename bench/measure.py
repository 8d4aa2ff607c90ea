"""Measures one row: warms up, sends, waits for the last delivery, and adds up what it took."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from bench.load import Sent, prepared, send_all
from bench.mails import mail_maker
from bench.receivers import Sink
from bench.rows import Row
from bench.smtp import Server
from bench.usage import Watch

_LOOK_EVERY = 0.2  # seconds
_STALLED_SECONDS = 45.0  # without any delivery
_SETTLE_SECONDS = 10.0  # at most, until what comes after the delivery is done too
_SETTLE_LOOK = 0.5  # seconds
_QUIET_LOOKS = 2
_QUIET_SHARE = 0.04  # of a core above what the stack uses when idle
_TELL_EVERY = 5.0  # seconds


@dataclass(frozen=True)
class Setting:
    """How all rows are measured. `seconds` is the longest time of sending."""

    connections: int
    seconds: float
    say: Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """Where a row's mail goes in, and the processes that are charged for it.

    `sink` is where it comes out, None if it does not. `idle` is the processor time in seconds that
    the processes use per second when nothing is sent.
    """

    server: Server
    groups: Mapping[str, Sequence[int]]
    sink: Sink | None
    idle: float


@dataclass
class Result:
    """One row, measured. Times in milliseconds, memory in bytes."""

    row: str
    sent: int = 0
    accepted: int = 0
    delivered: int = 0
    accepted_per_s: float = 0.0
    delivered_per_s: float | None = None
    accept_ms_p50: float = 0.0
    accept_ms_p99: float = 0.0
    cpu_ms_per_message: float = 0.0
    cpu_ms: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)
    idle_cpu_ms_per_s: float = 0.0
    generator_cpu_ms: float = 0.0
    sink_cpu_ms: float | None = None
    seconds: float = 0.0
    refusals: dict[str, int] = field(default_factory=dict)
    problem: str = ""


async def measure(row: Row, target: Target, setting: Setting, first: int) -> Result:
    """Measure one row with messages numbered from `first` on.

    Raises:
        SmtpError: the server cannot be reached or refuses everything.
    """
    make = mail_maker(row.kind)
    watch = Watch(target.groups)
    result = Result(row.name, idle_cpu_ms_per_s=round(target.idle * 1000, 1))
    setting.say(f"{row.name}: warming up")
    if target.sink is not None:
        await target.sink.begin()
    mails = prepared(make, range(first, first + row.warm_up))
    warm = await send_all(
        target.server, mails, setting.connections, setting.seconds, pipelined=row.pipelined
    )
    await _await_delivery(target, setting, warm.accepted, result)
    if result.problem:
        return result
    await settle(watch, target.idle)

    setting.say(f"{row.name}: preparing {row.count} messages")
    mails = prepared(make, range(first + row.warm_up, first + row.warm_up + row.count))
    setting.say(f"{row.name}: sending")
    if target.sink is not None:
        await target.sink.begin()
    before = watch.begin()
    sink_before = _cpu(target.sink)
    generator_before = time.process_time()
    sent = await send_all(
        target.server, mails, setting.connections, setting.seconds, pipelined=row.pipelined
    )
    generator = time.process_time() - generator_before
    last = await _await_delivery(target, setting, sent.accepted, result)
    await settle(watch, target.idle)
    after = watch.read()

    messages = result.delivered if target.sink is not None else sent.accepted
    _note(result, sent)
    if last is not None:
        result.seconds = round(last - sent.first, 2)
        result.delivered_per_s = round(result.delivered / max(last - sent.first, 1e-6), 1)
    if messages:
        used = {name: after.cpu[name] - before.cpu[name] for name in after.cpu}
        result.cpu_ms = {name: round(1000 * cpu / messages, 4) for name, cpu in used.items()}
        result.cpu_ms_per_message = round(1000 * sum(used.values()) / messages, 4)
        result.generator_cpu_ms = round(1000 * generator / messages, 4)
        if target.sink is not None:
            result.sink_cpu_ms = round(1000 * (_cpu(target.sink) - sink_before) / messages, 4)
    result.peak_memory = after.peak
    if gone := watch.missing():
        result.problem = f"processes ended while they were measured: {', '.join(gone)}"
    return result


async def idle_share(groups: Mapping[str, Sequence[int]], seconds: float = 3.0) -> float:
    """Processor seconds per second that the processes use when nothing is sent."""
    watch = Watch(groups)
    before, began = watch.read().cpu_total, time.monotonic()
    await asyncio.sleep(seconds)
    return (watch.read().cpu_total - before) / (time.monotonic() - began)


async def _await_delivery(
    target: Target, setting: Setting, expected: int, result: Result
) -> float | None:
    """Wait until everything has come out; Unix time of the last one. Notes what is missing."""
    if target.sink is None:
        return None
    moved, seen, told = time.monotonic(), -1, time.monotonic()
    while True:
        delivered, last = await target.sink.delivered()
        result.delivered = delivered
        now = time.monotonic()
        if delivered >= expected:
            if delivered > expected:
                result.problem = f"{delivered - expected} duplicates"
            return last
        if delivered > seen:
            seen, moved = delivered, now
        elif now - moved > _STALLED_SECONDS:
            result.problem = f"{expected - delivered} of {expected} were not delivered"
            return last
        if now - told > _TELL_EVERY:
            told = now
            setting.say(f"{result.row}: {delivered} of {expected} delivered")
        await asyncio.sleep(_LOOK_EVERY)


async def settle(watch: Watch, idle: float) -> None:
    """Wait until the processes use hardly more than when idle, as events are still written."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    cpu, at = watch.read().cpu_total, time.monotonic()
    quiet = 0
    while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
        await asyncio.sleep(_SETTLE_LOOK)
        next_cpu, now = watch.read().cpu_total, time.monotonic()
        quiet = quiet + 1 if (next_cpu - cpu) / (now - at) < idle + _QUIET_SHARE else 0
        cpu, at = next_cpu, now


def _note(result: Result, sent: Sent) -> None:
    result.sent = sent.accepted + sum(sent.refusals.values())
    result.accepted = sent.accepted
    result.accepted_per_s = round(sent.per_second, 1)
    result.accept_ms_p50 = round(1000 * sent.wait(0.5), 2)
    result.accept_ms_p99 = round(1000 * sent.wait(0.99), 2)
    result.refusals = dict(sent.refusals)
    result.seconds = round(sent.seconds, 2)


def _cpu(sink: Sink | None) -> float:
    if sink is None:
        return 0.0
    times = psutil.Process(sink.pid).cpu_times()
    return float(times.user + times.system)
