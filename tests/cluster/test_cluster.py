"""Three nodes of RabbitMQ and three of MongoDB: what is accepted arrives, whichever one goes.

Client threads hand mail in all the while, and try again when they are told to; at the end every
mail that was answered with a `200` must have arrived, and the longest time in which nothing was
accepted is printed. Started by `make test-cluster`.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from postroad_stack.plan import CLUSTER
from postroad_stack.stack import Stack

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
PATIENCE = 150.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"POSTROAD_RETRY_SCHEDULE": "1,1,2"}
    folder = tmp_path_factory.mktemp("cluster")
    with Stack.start(folder, env=settings, nodes=CLUSTER) as started:
        yield started
        started.stop(wipe=True)


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


def test_processes_are_spread_over_the_nodes_and_each_has_all_queues(
    stack: Stack, load: Any
) -> None:
    assert len(stack.document.amqp.split(",")) == CLUSTER
    assert len(stack.document.metrics["rabbitmq"]) == CLUSTER
    with load(stack, "calm"):
        pass


@pytest.mark.parametrize("node", range(CLUSTER))
def test_a_node_of_the_broker_is_killed(stack: Stack, load: Any, whole: Any, node: int) -> None:
    whole(stack.document.metrics["rabbitmq"])
    with load(stack, f"broker-{node}-killed") as found:
        pid = pid_of(stack, "rabbitmq", node)
        os.kill(pid, signal.SIGKILL)
        found.wait_for_more()
        stack.wait_back("rabbitmq", [pid], limit=PATIENCE)


@pytest.mark.parametrize("node", range(CLUSTER))
def test_a_node_of_the_broker_vanishes_without_closing_its_connections(
    stack: Stack, load: Any, whole: Any, node: int
) -> None:
    whole(stack.document.metrics["rabbitmq"])
    with load(stack, f"broker-{node}-frozen") as found:
        pid = pid_of(stack, "rabbitmq", node)
        os.kill(pid, signal.SIGSTOP)
        try:
            found.wait_for_more()
        finally:
            os.kill(pid, signal.SIGCONT)
        stack.wait_back("rabbitmq", limit=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_primary_of_the_database_goes(stack: Stack, load: Any, number: signal.Signals) -> None:
    with load(stack, f"primary-{number.name}") as found:
        pid = pid_of(stack, "mongod", primary(stack))
        os.kill(pid, number)
        try:
            found.wait_for_more()
        finally:
            if number is signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
        stack.wait_back("mongod", [pid] if number is signal.SIGKILL else [], limit=PATIENCE)
