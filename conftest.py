"""Servers for tests: real RabbitMQ and MongoDB, started once per process of tests and kept.

`POSTROAD_TEST_AMQP_URL` and `POSTROAD_TEST_MONGODB_URI`, given together, name servers to use
instead of starting some. Tests of the whole stack have their own fixtures in `tests/integration`.
"""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator

import aio_pika
import aio_pika.abc
import aio_pika.exceptions
import pytest
from hypothesis import HealthCheck, settings
from pymongo import AsyncMongoClient
from xdist.remote import Producer

from postroad_common.broker import topology
from postroad_common.broker.declaring import declare
from postroad_common.mail.identifiers import new_id
from postroad_stack.stack import Stack
from postroad_testing.groups import Groups, GroupScheduling
from postroad_testing.programs import find_program

# Tests start a hundred processes of ours. Without bytecode each would compile its libraries anew,
# which takes as long as everything else at its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


# How long one example takes says nothing on a machine that does other work as well.
settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")


# Tests in one of these places share a stack or server processes. Measured: which take longest.
_GROUPS = Groups(
    {
        "integration": ("tests/integration",),
        "ingress-smtp": ("services/ingress-smtp",),
        "command": ("libs/cli/tests/test_cli_command.py", "libs/cli/tests/test_cli_backup.py"),
    },
    longest=(
        "integration",
        "ingress-smtp",
        "services/ingress-http/tests/test_http_accessibility.py",
        "services/sender/tests/test_sender_delivery.py",
        "libs/stack/tests/test_stack_servers.py",
        "services/sender/tests/test_sender_replicas.py",
        "command",
        "tests/test_services_alone.py",
        "services/tracker/tests/test_tracker_process.py",
        "services/transformer/tests/test_transformer_heavy.py",
        "services/feedback/tests/test_feedback_webhooks.py",
        "services/ingress-http/tests/test_http_roles.py",
    ),
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """With several processes (`-n`): give whole groups to them."""
    return GroupScheduling(config, log, _GROUPS)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage in what is collected: it is all kept until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes: the longest groups first."""
    if hasattr(config, "workerinput"):
        items[:] = _GROUPS.ordered(items)


@pytest.fixture(scope="session")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack | None]:
    """Servers of this process of tests, which end with it however it ends; None if some are given.

    A test may freeze or kill them, if it waits until they are back.
    """
    if all(os.environ.get(f"POSTROAD_TEST_{name}") for name in ("AMQP_URL", "MONGODB_URI")):
        yield None
        return
    with Stack.start(tmp_path_factory.mktemp("servers"), only=("rabbitmq", "mongod")) as stack:
        yield stack
        stack.stop(wipe=True)


@pytest.fixture(scope="session")
def servers(own_servers: Stack | None) -> tuple[str, str]:
    """AMQP URL and MongoDB URI of servers for this process of tests."""
    if own_servers is None:
        return os.environ["POSTROAD_TEST_AMQP_URL"], os.environ["POSTROAD_TEST_MONGODB_URI"]
    return own_servers.document.amqp, own_servers.document.mongodb


async def _empty(connection: aio_pika.abc.AbstractConnection) -> None:
    channel = await (await connection.channel()).get_underlay_channel()
    await asyncio.gather(*(channel.queue_purge(queue.name) for queue in topology.QUEUES))


async def _purge(url: str) -> None:
    connection = await aio_pika.connect(url)
    async with connection:
        try:
            await _empty(connection)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            await declare(connection)
            await _empty(connection)


@pytest.fixture
async def amqp_url(servers: tuple[str, str]) -> str:
    """Return the URL of a broker with the whole topology declared and every queue empty."""
    await _purge(servers[0])
    return servers[0]


@pytest.fixture
async def mongodb_uri(servers: tuple[str, str]) -> AsyncIterator[str]:
    """Yield the URI of a database for one test."""
    name = f"test_{new_id()}"
    head, _, options = servers[1].partition("?")
    base = head.rsplit("/", 1)[0]
    uri = f"{base}/{name}" + (f"?{options}" if options else "")
    yield uri
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(uri)
    await client.drop_database(name)
    await client.close()


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Return what finds a program to test with: root installs it, else the test is skipped."""
    return find_program
