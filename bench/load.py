"""Sends many messages over several connections, as fast as the server takes them or at a rate."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.mails import Mail
from bench.smtp import Client, Server, SmtpError

_PREPARED_BYTES = 256 * 1024 * 1024
_MOST_FAILURES = 20  # lost connections or refusals in a row, per connection
_PAUSE_SECONDS = 0.2


@dataclass
class Sent:
    """What came of it: `first` is Unix time, `seconds` how long sending took.

    `waits` are the seconds from the last byte of each message to its reply, `transactions` those
    from MAIL to it; at a rate both are counted from when the message was due, so that one that had
    to wait for a free connection shows as late.
    """

    accepted: int = 0
    first: float = 0
    seconds: float = 0
    waits: list[float] = field(default_factory=list)
    transactions: list[float] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Accepted messages per second."""
        return self.accepted / self.seconds if self.seconds else 0.0

    def wait(self, share: float) -> float:
        """Return the wait in seconds that this share of the messages did not exceed."""
        return quantile(self.waits, share)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed; 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class _Schedule:
    """When the messages are due: evenly, from now on; at once without a rate."""

    def __init__(self, rate: float | None, deadline: float) -> None:
        self._rate = rate
        self._deadline = deadline
        self._began = time.perf_counter()
        self._taken = 0

    @property
    def is_over(self) -> bool:
        """Whether no more messages are to be sent."""
        return time.perf_counter() > self._deadline

    async def wait(self) -> float | None:
        """Wait until the next message is due, and return when that was; None without a rate."""
        if self._rate is None:
            return None
        due = self._began + self._taken / self._rate
        self._taken += 1
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return due


def prepared(make: Callable[[int], Mail], numbers: range) -> Iterator[Mail]:
    """Yield the messages of these numbers, made in advance as far as they fit into memory."""
    ready = []
    size = 0
    rest = iter(numbers)
    for number in rest:
        ready.append(make(number))
        size += len(ready[-1].wire)
        if size > _PREPARED_BYTES:
            break
    return itertools.chain(ready, map(make, rest))


async def send_all(
    server: Server,
    mails: Iterator[Mail],
    connections: int,
    seconds: float,
    *,
    pipelined: bool = True,
    rate: float | None = None,
) -> Sent:
    """Send `mails` until there are no more or the time is over; at `rate` per second, if given.

    Raises:
        SmtpError: the server cannot be reached or refuses everything.
    """
    clients = [await Client.connect(server) for _ in range(connections)]
    sent = Sent(first=time.time())
    began = time.perf_counter()
    schedule = _Schedule(rate, began + seconds)
    try:
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(
                    _send_over(client, server, mails, schedule, sent, pipelined=pipelined)
                )
    except* SmtpError as failures:
        raise SmtpError(str(failures.exceptions[0])) from failures
    sent.seconds = time.perf_counter() - began
    return sent


async def _send_over(
    client: Client,
    server: Server,
    mails: Iterator[Mail],
    schedule: _Schedule,
    sent: Sent,
    *,
    pipelined: bool,
) -> None:
    failures = 0
    for mail in mails:
        due = await schedule.wait()
        try:
            began = time.perf_counter() if due is None else due
            answer = await client.send(mail, pipelined=pipelined)
            if answer.code == 250:
                sent.accepted += 1
                ended = time.perf_counter()
                sent.transactions.append(ended - began)
                sent.waits.append(answer.seconds if due is None else ended - due)
                failures = 0
                if schedule.is_over:
                    break
                continue
            reason = f"{answer.code} {answer.text}"
            lost = False
        except SmtpError as error:
            reason, lost = str(error), True
        sent.refusals[reason[:80]] += 1
        failures += 1
        if failures > _MOST_FAILURES:
            client.abort()
            raise SmtpError(f"{failures} failures in a row, the last: {reason}")
        await asyncio.sleep(_PAUSE_SECONDS)
        if lost:
            client.abort()
            client = await Client.connect(server)
    await client.quit()
