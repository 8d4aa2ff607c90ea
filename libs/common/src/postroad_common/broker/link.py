"""A connection to RabbitMQ that is made again whenever it is lost.

What wants to use it registers a hook; the hooks run after each connect, so that channels and
consumers are set up anew in one visible place.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aio_pika
import aio_pika.exceptions
import structlog
from aio_pika.abc import AbstractConnection
from yarl import URL

from postroad_common.broker.declaring import declare
from postroad_common.broker.dialing import ADDRESS_TIMEOUT, BrokerDialer
from postroad_common.broker.nodes import Address, Nodes
from postroad_common.broker.rights import ALL_RIGHTS, BrokerRights
from postroad_common.broker.silence import SILENT_AFTER, Listener
from postroad_common.metrics import BROKER_CONNECTED, BROKER_CONNECTS, BROKER_LOSSES
from postroad_common.servertls import ServerTls, explain_tls
from postroad_common.tasks import BackgroundTasks

CONNECT_TIMEOUT = 5.0  # seconds
SET_UP_TIMEOUT = 30.0  # seconds for the topology, and for each hook: a broker may be very busy
NO_TLS = ServerTls()
HEARTBEAT = 5  # seconds
STEADY_SECONDS = 30.0
"""A node that has been heard for so long is trusted as at first; one that was left for its silence
sooner than that gets twice the patience, as everything here may be slow."""
MOST_PATIENCE = 4 * SILENT_AFTER
LOOK_UP_SECONDS = 30.0
"""How often the name of an only node is looked up, to see whether others have joined it."""
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0
_EARLY_PAUSE = 0.5  # the longest while everything may just be starting, the broker slowest
_EARLY_SECONDS = 30.0

Hook = Callable[[AbstractConnection], Awaitable[None]]
_log = structlog.get_logger("broker")


class BrokerLink:
    """Keeps one connection to a node of `urls` that answers.

    Each begins with one of them by chance, so that the processes of an installation spread over
    the nodes; when that does not answer, or falls silent, the next is tried. `role` names the
    connection in RabbitMQ's list and in the logs. With `declare` it makes exchanges and queues: all
    of them, or those of `rights` where its user may make no others. `tls` is for amqps URLs; its
    files are read at each connect.
    """

    def __init__(
        self,
        urls: str,
        role: str,
        *,
        declare: bool = False,
        rights: BrokerRights = ALL_RIGHTS,
        tls: ServerTls = NO_TLS,
    ) -> None:
        self._nodes = Nodes(urls)
        self.role = role
        self._declare = declare
        self._rights = rights
        self._tls = tls
        self.other: BrokerLink | None = None
        """One to whose node this does not go while there are others."""
        self._url = ""  # the one that was tried last
        self._looks = SILENT_AFTER
        self._hooks: list[Hook] = []
        self._choice_hooks: list[Callable[[], None]] = []
        self._due: list[Hook] = []  # those that the connection being made has not run yet
        self._connection: AbstractConnection | None = None
        self._dialer: BrokerDialer | None = None
        self._is_declared = False  # by this process, and nothing has been missed since
        self.is_started = False
        self._tasks = BackgroundTasks("broker link")
        self.up = asyncio.Event()
        self._label = role.rpartition(" ")[2]

    @property
    def is_used(self) -> bool:
        """Whether anything has registered a hook."""
        return bool(self._hooks)

    @property
    def has_choice(self) -> bool:
        """Whether there is another node to go to, by another URL or another address of a name."""
        return len(self._nodes) > 1 or (self._dialer is not None and self._dialer.has_choice)

    @property
    def place(self) -> tuple[str, Address] | None:
        """The URL of the node that it is connected to, and the IP address and port."""
        if self._connection is None or self._dialer is None or self._dialer.address is None:
            return None
        return self._url, self._dialer.address

    @property
    def heard(self) -> float:
        """When the broker last sent anything, by `time.perf_counter`."""
        return self._dialer.heard if self._dialer is not None else 0.0

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

    def on_choice(self, hook: Callable[[], None]) -> None:
        """Call `hook()` in each connection from which there is another node to go to."""
        self._choice_hooks.append(hook)

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
        self.is_started = True
        self._tasks.spawn(self._run(), name=f"broker-{self.role}")

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
        self._is_declared = False
        self._tasks.spawn(_close(connection), name=f"broker-{self.role}-renew")

    def leave(self, reason: str) -> None:
        """Go to another node at once: this one seems to be out of reach."""
        if self._dialer is not None and self.up.is_set():
            _log.warning("leaving a node of the broker", role=self.role, reason=reason)
            self.up.clear()
            self._dialer.hang_up()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` beside the connection, no longer than the link."""
        self._tasks.spawn(work, name)

    async def check(self) -> None:
        """Raise ConnectionError while the link is down: a readiness check."""
        if not self.up.is_set():
            raise ConnectionError("no connection to RabbitMQ")

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        early_until = asyncio.get_running_loop().time() + _EARLY_SECONDS
        failed = 0  # attempts since the last connection
        while True:
            taken = self.other.place if self.other is not None else None
            url = self._url = self._nodes.next(taken and taken[0])
            lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
            others = failed + 1 < len(self._nodes)  # which have not been tried yet
            try:
                patience = ADDRESS_TIMEOUT if others else CONNECT_TIMEOUT
                self._dialer = BrokerDialer(self._nodes, patience, taken and taken[1])
                await self._connect(url, lost, self._dialer)
                pause, failed = _FIRST_PAUSE, 0
                self.up.set()
                BROKER_CONNECTS.labels(self._label, "connected").inc()
                BROKER_CONNECTED.labels(self._label).set(1)
                _log.info("broker connected", role=self.role, host=URL(url).host)
                reason = await self._until_lost(lost)
                BROKER_LOSSES.labels(self._label).inc()
                _log.warning("broker connection lost", role=self.role, reason=repr(reason))
            except (OSError, TimeoutError, aio_pika.exceptions.AMQPError) as error:
                failed += 1
                self._avoid_this_node()
                if isinstance(error, aio_pika.exceptions.ChannelClosed):
                    self._is_declared = False  # something is not there any more
                BROKER_CONNECTS.labels(self._label, "failed").inc()
                _log.warning(
                    "broker not reachable, trying again",
                    role=self.role,
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
            if failed and not others:
                early = asyncio.get_running_loop().time() < early_until
                pause = min(_EARLY_PAUSE if early else _LONGEST_PAUSE, pause * 2)

    async def _until_lost(
        self, lost: "asyncio.Future[BaseException | None]"
    ) -> BaseException | None:
        """Return why the connection was lost, or was left because its node is silent."""
        connection, dialer = self._connection, self._dialer
        assert connection is not None  # noqa: S101 - it has just been made
        assert dialer is not None  # noqa: S101
        watch = self._tasks.spawn(
            self._leave_when_silent(connection, dialer), name=f"broker-{self.role}-silence"
        )
        try:
            reason = await lost
        finally:
            watch.cancel()
        if dialer.is_left:
            self._avoid_this_node()
        return reason

    async def _leave_when_silent(
        self, connection: AbstractConnection, dialer: BrokerDialer
    ) -> None:
        while not self.has_choice:  # nobody would be better off elsewhere
            await asyncio.sleep(LOOK_UP_SECONDS)
            await dialer.look_up(URL(self._url))
        for told in self._choice_hooks:
            told()
        began = dialer.heard
        await Listener(connection, lambda: dialer.heard).until_silent(self._looks)
        steady = dialer.heard - began > STEADY_SECONDS
        self._looks = SILENT_AFTER if steady else min(MOST_PATIENCE, 2 * self._looks)
        self.leave("it is silent")

    def _avoid_this_node(self) -> None:
        self._nodes.avoid(self._url)
        if self._dialer is not None and self._dialer.address is not None:
            self._nodes.avoid(self._dialer.address)

    async def _connect(
        self, url: str, lost: "asyncio.Future[BaseException | None]", dialer: BrokerDialer
    ) -> None:
        connection = aio_pika.Connection(
            URL(url).update_query(heartbeat=HEARTBEAT),
            ssl_context=self._tls.context() if self._tls else None,
            client_properties={"connection_name": f"postroad {self.role}"},
        )
        connection.kwargs["transport_factory"] = dialer
        await connection.connect(timeout=min(CONNECT_TIMEOUT, 2 * dialer.patience))
        self._connection = connection

        def on_close(_: object, error: BaseException | None) -> None:
            if not lost.done():
                lost.set_result(error)

        connection.close_callbacks.add(on_close)
        if self._declare and not self._is_declared:
            async with asyncio.timeout(SET_UP_TIMEOUT):
                await declare(connection, self._rights)
            self._is_declared = True
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
