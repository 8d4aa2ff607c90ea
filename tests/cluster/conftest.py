"""Load for these tests: clients that hand mail in while something is done to the servers."""

import contextlib
import itertools
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import httpx
import pytest

from postroad_sink.client import SinkClient
from postroad_stack.errors import RestError
from postroad_stack.rest import RestClient
from postroad_stack.stack import Stack
from postroad_testing.waiting import wait_until

CLIENTS = 3
BEFORE = 20
"""Mails that are accepted before something is done, and again after it."""
PATIENCE = 150.0
_WRITTEN = re.compile(
    r'^rabbitmq_raft_log_last_written_index\{.*queue="(.+?)".*\} (\d+)', re.MULTILINE
)


@dataclass
class Load:
    """Clients that send until `stop`, and what was accepted of it."""

    api: RestClient
    what: str
    accepted: dict[str, float] = field(default_factory=dict)
    refusals: Counter[int] = field(default_factory=Counter)
    """By the status of the answer; 0 where there was none."""
    reasons: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for client in range(CLIENTS):
            thread = threading.Thread(target=self._send, args=(client,))
            thread.start()
            self.threads.append(thread)

    def stop(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _send(self, client: int) -> None:
        number = 0
        while not self.over.wait(0.05):
            recipient = f"{self.what}-{client}-{number}@receiver{number % 7}.test"
            mail = {"from": "shop@shop.test", "recipient": recipient, "to": recipient}
            began = time.monotonic()
            try:
                self.api.post("/v1/send", mail | {"subject": self.what, "text": "Hello"})
            except RestError as error:
                self.refusals[error.status] += 1
                self.reasons[f"{error.status} {error.code}: {error}"[:100]] += 1
            else:
                self.accepted[recipient] = time.monotonic()
                number += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def wait_for_more(self) -> None:
        """Return when some more mail was accepted than so far."""
        goal = len(self.accepted) + BEFORE
        wait_until(lambda: len(self.accepted) >= goal, PATIENCE, "mail is accepted")

    def longest_gap(self) -> float:
        """Return the longest time, in seconds, in which nothing was accepted."""
        times = sorted(self.accepted.values())
        return max(after - before for before, after in itertools.pairwise(times))


@contextlib.contextmanager
def under_load(stack: Stack, what: str) -> Iterator[Load]:
    """Have clients send while the block runs; then count."""
    found = Load(stack.api(), what)
    found.start()
    try:
        found.wait_for_more()
        yield found
        found.wait_for_more()
    finally:
        found.stop()
    with SinkClient(stack.sink_url) as sink:

        def missing() -> set[str]:
            mails = sink.messages(subject=what)
            return set(found.accepted) - {to for mail in mails for to in mail.recipients}

        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not missing(), PATIENCE)
        assert not missing(), f"{len(missing())} of {len(found.accepted)} were lost"
    sys.__stderr__.write(
        f"== {what}: {len(found.accepted)} accepted and delivered, {found.refusals.total()} told "
        f"to come again; nothing accepted for {found.longest_gap():.1f} s at most, "
        f"slowest answer {found.slowest:.1f} s\n"
        + "".join(f"     {count} x {text}\n" for text, count in found.reasons.most_common())
    )


@pytest.fixture
def load() -> Callable[[Stack, str], AbstractContextManager[Load]]:
    """Return what has clients send to a stack while a block runs, under a subject, and counts."""
    return under_load


def written(metrics: str) -> dict[str, int]:
    """Return how far the log of each quorum queue goes on the node that has these metrics."""
    text = httpx.get(f"{metrics}/per-object", timeout=10, trust_env=False).text
    return {queue: int(index) for queue, index in _WRITTEN.findall(text)}


def wait_until_whole(metrics: Sequence[str]) -> None:
    """Return when each node has of every queue what most nodes have.

    One that comes back takes a while for that. Until then there is no majority without another.
    One alone may have more: what it had taken when it was cut off, which will be dropped.
    """
    logs = [written(url) for url in metrics]
    most = len(metrics) // 2
    goal = Counter(
        {
            queue: sorted((log.get(queue, 0) for log in logs), reverse=True)[most]
            for queue in {queue for log in logs for queue in log}
        }
    )

    def is_whole() -> bool:
        return all(goal <= Counter(written(url)) for url in metrics)

    try:
        wait_until(is_whole, PATIENCE)
    except TimeoutError:
        sys.__stderr__.write("== a node has not caught up; what comes now may take longer\n")


@pytest.fixture
def whole() -> Callable[[Sequence[str]], None]:
    """Return what waits until the nodes of a broker with these metrics have caught up."""
    return wait_until_whole
