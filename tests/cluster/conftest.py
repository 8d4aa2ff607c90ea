"""Load for these tests: clients that hand mail in while something is done to the servers."""

import contextlib
import itertools
import re
import smtplib
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

import httpx
import pytest

from postroad_sink.client import SinkClient
from postroad_stack.errors import RestError
from postroad_stack.stack import Stack
from postroad_testing.waiting import wait_until

CLIENTS = 3
TRY_AGAIN = frozenset({429, 451, 454, 503})
"""The only answers, but for the good one, that a client may get: `4xx` of SMTP, others of REST."""
BEFORE = 20
"""Mails that are accepted before something is done, and again after it."""
PATIENCE = 150.0
_WRITTEN = re.compile(
    r'^rabbitmq_raft_log_last_written_index\{.*queue="(.+?)".*\} (\d+)', re.MULTILINE
)


@dataclass
class Load:
    """Clients that send until `stop`, and what was accepted of it."""

    stack: Stack
    what: str
    accepted: dict[str, float] = field(default_factory=dict)
    refusals: Counter[int] = field(default_factory=Counter)
    """By the status of the answer; 0 where there was none."""
    reasons: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        clients = [partial(self._send, client) for client in range(CLIENTS)]
        for client in (*clients, self._send_smtp):
            thread = threading.Thread(target=client)
            thread.start()
            self.threads.append(thread)

    def stop(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _send(self, client: int) -> None:
        api = self.stack.api()
        number = 0
        while not self.over.wait(0.05):
            recipient = f"{self.what}-{client}-{number}@receiver{number % 7}.test"
            mail = {"from": "shop@shop.test", "recipient": recipient, "to": recipient}
            began = time.monotonic()
            try:
                api.post("/v1/send", mail | {"subject": self.what, "text": "Hello"})
            except RestError as error:
                self.refusals[error.status] += 1
                self.reasons[f"{error.status} {error.code}: {error}"[:100]] += 1
            else:
                self.accepted[recipient] = time.monotonic()
                number += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def _send_smtp(self) -> None:
        """Send over one connection, and over another one when it is closed."""
        number = 0
        while not self.over.is_set():
            try:
                with self._logged_in() as client:
                    while not self.over.wait(0.05):
                        recipient = f"{self.what}-smtp-{number}@receiver{number % 7}.test"
                        if self._submit(client, recipient):
                            number += 1
            except smtplib.SMTPResponseException as error:
                self.refusals[error.smtp_code] += 1
            except smtplib.SMTPServerDisconnected:
                self.refusals[0] += 1

    def _logged_in(self) -> smtplib.SMTP:
        document = self.stack.document
        assert document.smtp is not None
        assert document.credential is not None
        client = smtplib.SMTP(document.smtp.host, document.smtp.port, "app.test", 90)
        client.starttls(context=ssl.create_default_context(cafile=document.ca))
        client.login(document.credential.username, document.credential.password)
        return client

    def _submit(self, client: smtplib.SMTP, recipient: str) -> bool:
        """Tell whether the mail was taken; each reply is timed."""
        text = f"From: shop@shop.test\r\nTo: {recipient}\r\nSubject: {self.what}\r\n\r\nHello\r\n"
        commands = (
            partial(client.mail, "shop@shop.test"),
            partial(client.rcpt, recipient),
            partial(client.data, text),
        )
        for command in commands:
            began = time.monotonic()
            try:
                code, said = command()
            except smtplib.SMTPDataError as error:
                code, said = error.smtp_code, error.smtp_error
            self.slowest = max(self.slowest, time.monotonic() - began)
            if code != 250:
                self.refusals[code] += 1
                self.reasons[f"{code} {said!r}"[:100]] += 1
                client.rset()
                return False
        self.accepted[recipient] = time.monotonic()
        return True

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
    found = Load(stack, what)
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
    assert set(found.refusals) <= TRY_AGAIN, found.reasons
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
