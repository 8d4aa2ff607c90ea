"""The sender alone: servers and sender processes of the measurement's own, and its queues filled.

What is measured with them is in `deliveries` and `backlog`.
"""

import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika

from bench.stack import postroad
from postroad_common.broker import BrokerLink, Publisher, topology
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient

SHARDS = [queue.name for queue in topology.SHARD_QUEUES]
_AT_ONCE = 500  # publications that wait for their confirm together
_START_SECONDS = 600.0  # the first start of a machine downloads servers
_STOP_SECONDS = 60.0
_ACCOUNT = "bench"


@dataclass(frozen=True)
class Servers:
    """RabbitMQ and MongoDB; `pids` are their processes by what they are."""

    amqp: str
    mongodb: str
    pids: dict[str, list[int]]


@asynccontextmanager
async def running_servers(folder: Path) -> AsyncIterator[Servers]:
    """Run a broker and a database with their data in `folder`; wipe them in the end."""
    where = ("--state-dir", str(folder))
    try:
        output = await postroad(
            _START_SECONDS, "up", "--detach", "--json", "--only", "rabbitmq,mongod", *where
        )
        document: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        yield Servers(document["amqp"], document["mongodb"], document["pids"])
    finally:
        await postroad(_STOP_SECONDS, "down", "--wipe", *where)


@asynccontextmanager
async def running_sender(
    servers: Servers, routes: Sequence[dict[str, Any]], folder: Path, **settings: str
) -> AsyncIterator[int]:
    """Run a sender process, drained in the end; yield its process id."""
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("POSTROAD")},
        "POSTROAD_AMQP_URL": servers.amqp,
        "POSTROAD_MONGODB_URI": servers.mongodb,
        "POSTROAD_SECRET": "a secret for measurements only",
        "POSTROAD_HOSTNAME": "bench.test",
        "POSTROAD_METRICS_PORT": "0",
        "POSTROAD_SPOOL_DIR": str(folder / "spool"),
        "POSTROAD_ROUTES": json.dumps(list(routes), separators=(",", ":")),
        **settings,
    }
    with (folder / "sender.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "postroad_sender", env=environment, stdout=log
        )
        try:
            yield process.pid
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()


class Filler:
    """Puts messages into queues, each confirmed. `size` octets make a message's content."""

    def __init__(self, publisher: Publisher, size: int = 1000) -> None:
        self._publisher = publisher
        line = b"What is measured is the way, and not what is on it: 0123456789.\r\n"
        self._text = line * (1 + size // len(line))
        self._size = size

    def frame(self, address: str) -> bytes:
        """Return the frame of a message to `address`; `X-Sent` says when (monotonic)."""
        found, now = new_id(), time.time()
        sent = f"X-Sent: {time.monotonic():.6f}\r\n"
        head = f"From: a@bench.test\r\nTo: {address}\r\nSubject: {found}\r\n{sent}\r\n".encode()
        content = (head + self._text)[: self._size - 2] + b"\r\n"
        message = OutboundMessage(
            id=found,
            submission=found,
            account=_ACCOUNT,
            envelope="a@bench.test",
            mail_from="a@bench.test",
            recipients=(OutboundRecipient(id=found, address=address),),
            received=now,
            expires=now + 86_400,
            size=len(content),
        )
        return encode(message, content)

    async def put(self, queue: str, address: str) -> None:
        """One message. Raises BrokerAway."""
        await self._publisher.publish("", queue, self.frame(address))

    async def fill(self, addresses: Iterable[str], queue: str | None = None) -> None:
        """Put a message for each into `queue`, or into its domain's shard. Raises BrokerAway."""
        rest = iter(addresses)
        while some := list(itertools.islice(rest, _AT_ONCE)):
            await self._publisher.publish_many(
                ("", queue, self.frame(address))
                if queue
                else (topology.OUTBOUND.name, address.rpartition("@")[2], self.frame(address))
                for address in some
            )


@asynccontextmanager
async def filler(servers: Servers, size: int = 1000) -> AsyncIterator[Filler]:
    """Yield a filler with a connection of its own, which declares the topology."""
    link = BrokerLink(servers.amqp, "bench", declare=True)
    publisher = Publisher(link)
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), _STOP_SECONDS)
        yield Filler(publisher, size)
    finally:
        await link.close()


async def depths(servers: Servers, *names: str) -> int:
    """How many messages are ready in these queues together; none in those that do not exist."""
    connection = await aio_pika.connect(servers.amqp)
    count = 0
    async with connection:
        for name in names:
            channel = await connection.channel()
            try:
                declared = await channel.declare_queue(name, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                continue
            count += declared.declaration_result.message_count or 0
            await channel.close()
    return count


@asynccontextmanager
async def scratch() -> AsyncIterator[Path]:
    """Yield a folder for the time of a measurement."""
    with tempfile.TemporaryDirectory(prefix="postroad-bench-") as folder:
        yield Path(folder)
