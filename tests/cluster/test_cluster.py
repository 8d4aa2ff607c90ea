"""Three nodes of RabbitMQ and three of MongoDB: what is accepted arrives, whichever one goes.

Client threads hand mail in all the while, and try again when they are told to; at the end every
mail that was answered with a `200` must have arrived, and the longest time in which nothing was
accepted is printed. Started by `make test-cluster`.
"""

import contextlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from pymongo import MongoClient

from postroad_sink.client import SinkClient
from postroad_stack.errors import RestError
from postroad_stack.plan import CLUSTER
from postroad_stack.rest import RestClient
from postroad_stack.stack import Stack
from postroad_testing.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
CLIENTS = 3
BEFORE = 20
"""Mails that are accepted before something is done, and again after it."""
PATIENCE = 150.0


@dataclass
class Load:
    """Clients that send until `stop`, and what was accepted of it."""

    api: RestClient
    what: str
    accepted: dict[str, float] = field(default_factory=dict)
    refused: int = 0
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
            except RestError:
                self.refused += 1
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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"POSTROAD_RETRY_SCHEDULE": "1,1,2"}
    folder = tmp_path_factory.mktemp("cluster")
    with Stack.start(folder, env=settings, nodes=CLUSTER) as started:
        yield started
        started.stop(wipe=True)


@contextlib.contextmanager
def load(stack: Stack, what: str) -> Iterator[Load]:
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
        f"== {what}: {len(found.accepted)} accepted and delivered, {found.refused} told to come "
        f"again; nothing accepted for {found.longest_gap():.1f} s at most, "
        f"slowest answer {found.slowest:.1f} s\n"
    )


def pid_of(stack: Stack, server: str, node: int) -> int:
    pid = next(each.pid for each in stack.processes(server) if each.replica == node)
    assert pid is not None
    return pid


def primary(stack: Stack) -> int:
    """Return which member is the primary of the replica set."""
    with MongoClient[dict[str, object]](stack.document.mongodb) as client:
        client.admin.command("ping")
        assert client.primary is not None
        port = client.primary[1]
    ports = stack.document.mongodb.partition("@")[2].partition("/")[0].split(",")
    return [each.rpartition(":")[2] for each in ports].index(str(port))


def test_processes_are_spread_over_the_nodes_and_each_has_all_queues(stack: Stack) -> None:
    assert len(stack.document.amqp.split(",")) == CLUSTER
    assert len(stack.document.metrics["rabbitmq"]) == CLUSTER
    with load(stack, "calm"):
        pass


@pytest.mark.parametrize("node", range(CLUSTER))
def test_a_node_of_the_broker_is_killed(stack: Stack, node: int) -> None:
    with load(stack, f"broker-{node}-killed") as found:
        pid = pid_of(stack, "rabbitmq", node)
        os.kill(pid, signal.SIGKILL)
        found.wait_for_more()
        stack.wait_back("rabbitmq", [pid], limit=PATIENCE)


@pytest.mark.parametrize("node", range(CLUSTER))
def test_a_node_of_the_broker_vanishes_without_closing_its_connections(
    stack: Stack, node: int
) -> None:
    with load(stack, f"broker-{node}-frozen") as found:
        pid = pid_of(stack, "rabbitmq", node)
        os.kill(pid, signal.SIGSTOP)
        try:
            found.wait_for_more()
        finally:
            os.kill(pid, signal.SIGCONT)
        stack.wait_back("rabbitmq", limit=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_primary_of_the_database_goes(stack: Stack, number: signal.Signals) -> None:
    with load(stack, f"primary-{number.name}") as found:
        pid = pid_of(stack, "mongod", primary(stack))
        os.kill(pid, number)
        try:
            found.wait_for_more()
        finally:
            if number is signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
        stack.wait_back("mongod", [pid] if number is signal.SIGKILL else [], limit=PATIENCE)
