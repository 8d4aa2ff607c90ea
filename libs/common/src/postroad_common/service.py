"""The skeleton of every service: settings, logs, metrics, health, connections, drain.

A service's `main.py` calls `run(name, Settings, build)`. Its `build` makes the objects, starts
them, and registers how to stop them; everything else is the same everywhere and stands here.
"""

import asyncio
import contextlib
import os
import platform
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Generic, TypeVar

import structlog
import uvloop

from postroad_common import logging, memory
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.broker.rights import RIGHTS
from postroad_common.broker.standby import standby_of
from postroad_common.health import Health, operations_app
from postroad_common.listener import HttpListener
from postroad_common.metrics import BUILD, EVENT_LOOP_LAG, EVENTS_WAITING
from postroad_common.settings import ServiceSettings
from postroad_common.settingsloading import load_or_exit
from postroad_common.store.database import Database
from postroad_common.store.roles import ROLES
from postroad_common.tasks import BackgroundTasks

S = TypeVar("S", bound=ServiceSettings)
Hook = Callable[[], Awaitable[object]]

_LAG_INTERVAL = 1.0  # seconds
_log = structlog.get_logger("service")


@dataclass
class ServiceContext(Generic[S]):
    """What a service gets to build itself with."""

    name: str
    settings: S
    link: BrokerLink
    publisher: Publisher
    events: EventWriter
    database: Database
    health: Health
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    drain_hooks: list[Hook] = field(default_factory=list)
    tasks: BackgroundTasks = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = BackgroundTasks(failed=lambda _: self.stop.set())

    def on_drain(self, hook: Hook) -> None:
        """Await `hook()` at SIGTERM, in the order of registration, before connections close."""
        self.drain_hooks.append(hook)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Run `work` beside the service; if it fails, the process ends, to be started anew."""
        return self.tasks.spawn(work, name)


Build = Callable[[ServiceContext[S]], Awaitable[None]]


def run(
    name: str,
    settings_type: type[S],
    build: Callable[[ServiceContext[S]], Awaitable[None]],
    *,
    needs_database: bool = True,
    needs_broker: bool = True,
    clients_wait: bool = False,
) -> None:
    """Run the service until SIGTERM or SIGINT. Exits with 2 on wrong settings.

    Where clients wait for what is published, a second node of the broker stands by for that.

    What it does not need does not count for its readiness: the tracker serves readers without
    broker and database.
    """
    memory.use_one_arena()
    settings = load_or_exit(name, settings_type)
    logging.set_up(name, settings.log_level, settings.log_format)
    run_to_end(
        _serve(
            name,
            settings,
            build,
            needs_database=needs_database,
            needs_broker=needs_broker,
            clients_wait=clients_wait,
        )
    )


def run_to_end(work: Coroutine[Any, Any, bool]) -> None:
    """Run `work`; if it says that something has come to no end, the process ends all the same.

    A task that waits in `asyncio.Condition` for a lock that is lost cannot be cancelled, and the
    runner would wait for it for ever: a process that neither works nor is started anew.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if not runner.run(work):
            sys.stdout.flush()
            os._exit(1)


async def _serve(
    name: str,
    settings: S,
    build: Callable[[ServiceContext[S]], Awaitable[None]],
    *,
    needs_database: bool,
    needs_broker: bool,
    clients_wait: bool,
) -> bool:
    """Return whether everything was closed in the end."""
    health = Health()
    operations = HttpListener(
        operations_app(health),
        settings.bind,
        settings.metrics_port,
        grace=1.0,
    )
    await operations.start()
    tls = settings.amqp_tls
    rights = RIGHTS[name]
    outgoing = BrokerLink(
        settings.amqp_url, f"{name} publish", declare=True, rights=rights, tls=tls
    )
    standby = (
        standby_of(outgoing, settings.amqp_url, f"{name} standby", tls) if clients_wait else None
    )
    publisher = Publisher(outgoing, standby)
    incoming = BrokerLink(
        settings.amqp_url, f"{name} consume", declare=True, rights=rights, tls=tls
    )
    events = EventWriter(publisher)
    database = Database(settings.mongodb_uri, tls=settings.mongodb_tls)
    EVENTS_WAITING.set_function(lambda: len(events))
    BUILD.labels(name, metadata.version("postroad-common"), platform.python_version()).set(1)
    context = ServiceContext(
        name=name,
        settings=settings,
        link=incoming,
        publisher=publisher,
        events=events,
        database=database,
        health=health,
    )
    if needs_broker:
        health.add_check("rabbitmq", publisher.check)
    if needs_database:
        health.add_check("mongodb", database.check)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, context.stop.set)
    context.spawn(_measure_lag(), "event-loop-lag")
    context.spawn(memory.keep_small(), "memory")
    context.spawn(health.watch(), "readiness")
    outgoing.start()
    events.start()
    if needs_database:
        context.spawn(database.prepare(ROLES[name].prepares), "database-indexes")
    try:
        await build(context)
        if incoming.is_used:  # an ingress or the tracker consumes nothing
            health.add_check("rabbitmq (consuming)", incoming.check)
            incoming.start()
        health.started = True
        memory.give_back()
        memory.collect_seldom()
        _log.info("started", operations_port=operations.port)
        await context.stop.wait()
        _log.info("draining", grace_seconds=settings.grace_seconds)
    finally:
        health.draining = True
        await _drain(context)
        await events.close()
        await context.tasks.close()
        await incoming.close()
        if standby is not None:
            await standby.close()
        await outgoing.close()
        closed = await database.close()
        await operations.stop()
        _log.info("stopped")
    return closed


async def _drain(context: ServiceContext[Any]) -> None:
    try:
        async with asyncio.timeout(context.settings.grace_seconds):
            for hook in context.drain_hooks:
                await hook()
            await context.events.flush()
    except TimeoutError:
        _log.warning("grace time is over; what has not ended is left to the broker")
    except Exception:  # noqa: BLE001 - the connections are to be closed all the same
        _log.exception("draining failed")


async def _measure_lag() -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            before = loop.time()
            await asyncio.sleep(_LAG_INTERVAL)
            EVENT_LOOP_LAG.observe(max(0.0, loop.time() - before - _LAG_INTERVAL))
