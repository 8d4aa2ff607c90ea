"""A connection to RabbitMQ that is made again whenever it is lost, and the declaration of topology.

What wants to use it registers a hook; the hooks run after each connect, so that channels and
consumers are set up anew in one visible place.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import aio_pika
import aio_pika.exceptions
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from yarl import URL

from postroad_common.broker import topology
from postroad_common.broker.dialing import BrokerDialer
from postroad_common.metrics import BROKER_CONNECTED, BROKER_CONNECTS, BROKER_LOSSES
from postroad_common.servertls import ServerTls, explain_tls
from postroad_common.tasks import BackgroundTasks

CONNECT_TIMEOUT = 5.0  # seconds
SET_UP_TIMEOUT = 30.0  # seconds for the topology, and for each hook: a broker may be very busy
NO_TLS = ServerTls()
HEARTBEAT = 5  # seconds; a dead peer is noticed after three
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0
_EARLY_PAUSE = 0.5  # the longest while everything may just be starting, the broker slowest
_EARLY_SECONDS = 30.0

Hook = Callable[[AbstractConnection], Awaitable[None]]
_log = structlog.get_logger("broker")


class BrokerLink:
    """Keeps one connection to a node of `urls` that answers.

    Each begins with one of them by chance, so that the processes of an installation spread over
    the nodes; when that does not answer, the next is tried. `role` names the connection in
    RabbitMQ's list and in the logs. `tls` is for amqps URLs; its files are read at each connect.
    """

    def __init__(
        self, urls: str, role: str, *, declare: bool = False, tls: ServerTls = NO_TLS
    ) -> None:
        self._urls = [part.strip() for part in urls.split(",") if part.strip()]
        self._role = role
        self._declare = declare
        self._tls = tls
        self._hooks: list[Hook] = []
        self._due: list[Hook] = []  # those that the connection being made has not run yet
        self._connection: AbstractConnection | None = None
        self._tasks = BackgroundTasks("broker link")
        self.up = asyncio.Event()
        self._label = role.rpartition(" ")[2]

    @property
    def is_used(self) -> bool:
        """Whether anything has registered a hook."""
        return bool(self._hooks)

    @property
    def has_choice(self) -> bool:
        """Whether there is another node to go to."""
        return len(self._urls) > 1

    def on_connect(self, hook: Hook) -> None:
        """Run `hook(connection)` after each connect; for a link that is up, call `add` instead."""
        self._hooks.append(hook)

    async def add(self, hook: Hook) -> None:
        """Register `hook` and, when the link is up, run it at once."""
        self._hooks.append(hook)
        if self._connection is None or not self.up.is_set():
            self._due.append(hook)
        else:
            try:
                await hook(self._connection)
            except (OSError, TimeoutError, aio_pika.exceptions.AMQPError) as error:
                _log.warning("broker set-up failed, connecting again", error=repr(error))
                await self._connection.close()

    def remove(self, hook: Hook) -> None:
        """Forget `hook`."""
        for hooks in (self._hooks, self._due):
            with contextlib.suppress(ValueError):
                hooks.remove(hook)

    def start(self) -> None:
        """Begin to connect, and go on for ever."""
        BROKER_CONNECTED.labels(self._label).set(0)
        BROKER_LOSSES.labels(self._label)
        for result in ("connected", "failed"):
            BROKER_CONNECTS.labels(self._label, result)
        self._tasks.spawn(self._run(), name=f"broker-{self._role}")

    async def close(self) -> None:
        """Stop for good."""
        await self._tasks.close()
        if self._connection is not None:
            with contextlib.suppress(Exception):  # closing what may be broken already
                await asyncio.wait_for(self._connection.close(), CONNECT_TIMEOUT)

    def renew(self, reason: str) -> None:
        """Give the connection up and make a new one: a channel on it was closed by the broker.

        That happens when a queue or an exchange is deleted, or a delivery is held for longer than
        the broker allows. The new connection declares and sets up everything anew.
        """
        connection = self._connection
        if connection is None or connection.is_closed or not self.up.is_set():
            return
        _log.warning("channel closed by the broker, connecting again", reason=reason)
        self.up.clear()
        self._tasks.spawn(_close(connection), name=f"broker-{self._role}-renew")

    async def check(self) -> None:
        """Raise ConnectionError while the link is down: a readiness check."""
        if not self.up.is_set():
            raise ConnectionError("no connection to RabbitMQ")

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        early_until = asyncio.get_running_loop().time() + _EARLY_SECONDS
        attempt = random.randrange(len(self._urls))
        while True:
            url = self._urls[attempt % len(self._urls)]
            attempt += 1
            lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
            try:
                await self._connect(url, lost)
                pause = _FIRST_PAUSE
                self.up.set()
                BROKER_CONNECTS.labels(self._label, "connected").inc()
                BROKER_CONNECTED.labels(self._label).set(1)
                _log.info("broker connected", role=self._role)
                reason = await lost
                BROKER_LOSSES.labels(self._label).inc()
                _log.warning("broker connection lost", role=self._role, reason=repr(reason))
            except (OSError, TimeoutError, aio_pika.exceptions.AMQPError) as error:
                BROKER_CONNECTS.labels(self._label, "failed").inc()
                _log.warning(
                    "broker not reachable, trying again",
                    role=self._role,
                    host=URL(url).host,
                    port=URL(url).port,
                    error=_explain(error),
                    seconds=round(pause, 2),
                )
            finally:
                self.up.clear()
                BROKER_CONNECTED.labels(self._label).set(0)
                await self._drop()
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            early = asyncio.get_running_loop().time() < early_until
            pause = min(_EARLY_PAUSE if early else _LONGEST_PAUSE, pause * 2)

    async def _connect(self, url: str, lost: "asyncio.Future[BaseException | None]") -> None:
        connection = aio_pika.Connection(
            URL(url).update_query(heartbeat=HEARTBEAT),
            ssl_context=self._tls.context() if self._tls else None,
            client_properties={"connection_name": f"postroad {self._role}"},
        )
        connection.kwargs["transport_factory"] = BrokerDialer()
        await connection.connect(timeout=CONNECT_TIMEOUT)
        self._connection = connection

        def on_close(_: object, error: BaseException | None) -> None:
            if not lost.done():
                lost.set_result(error)

        connection.close_callbacks.add(on_close)
        if self._declare:
            async with asyncio.timeout(SET_UP_TIMEOUT):
                await declare(connection)
        self._due = list(self._hooks)
        while self._due:  # one that is added meanwhile has its turn, too
            async with asyncio.timeout(SET_UP_TIMEOUT):
                await self._due.pop(0)(connection)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed:
            await _close(connection)


async def _close(connection: AbstractConnection) -> None:
    with contextlib.suppress(Exception):  # it is broken anyway
        await asyncio.wait_for(connection.close(), 1.0)


def _explain(error: BaseException) -> str:
    text = str(error) or repr(error)
    if "PRECONDITION" in text:
        text += (
            " (a queue exists with other arguments, from another version perhaps: "
            "drain and delete it, then it is declared anew)"
        )
    return text[:500] + explain_tls(text, "POSTROAD_AMQP")


async def declare(connection: AbstractConnection) -> None:
    """Declare the whole topology; what exists already stays as it is.

    Raises:
        aio_pika.exceptions.AMQPError: something exists with other arguments.
    """
    channel: AbstractChannel = await connection.channel(publisher_confirms=False)
    try:
        for exchange in topology.EXCHANGES:
            await channel.declare_exchange(exchange.name, exchange.kind, durable=True)
        for queue in topology.QUEUES:
            declared = await channel.declare_queue(
                queue.name, durable=True, arguments=queue.declaration
            )
            for name, key in queue.bindings:
                await declared.bind(name, routing_key=key)
    finally:
        await channel.close()
