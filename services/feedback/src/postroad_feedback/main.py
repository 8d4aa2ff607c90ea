"""Builds feedback and starts it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from postroad_common.broker import Consumer
from postroad_common.broker.topology import ARCHIVE, EVENTS
from postroad_common.errors import Transient
from postroad_common.service import ServiceContext, run
from postroad_common.web.guard import UrlGuard
from postroad_common.web.resolver import Resolver
from postroad_feedback.archiving import ArchiveHandler
from postroad_feedback.backlog import LOOK_SECONDS, measure_backlog
from postroad_feedback.calls import Caller
from postroad_feedback.dispatch import WebhookDispatcher
from postroad_feedback.handler import Handler
from postroad_feedback.ingest import Ingest
from postroad_feedback.janitor import ROUND_SECONDS, Janitor
from postroad_feedback.message_cache import MessageCache
from postroad_feedback.overflow import LOOK_SECONDS as OVERFLOW_SECONDS
from postroad_feedback.overflow import Overflow
from postroad_feedback.recovery import Recovery
from postroad_feedback.replaying import Replayer
from postroad_feedback.settings import Settings
from postroad_feedback.spans import SEND_SECONDS, SpanExporter
from postroad_feedback.subscriptions import Subscriptions

_RECOVERY_SECONDS = 1.0
_REPLAY_SECONDS = 0.5
_PAUSE_SECONDS = 10.0
_LINGER_SECONDS = 0.2
_LINGER_LONGEST_SECONDS = 1.0
"""Most mails are accepted, transformed and delivered in this time: one write of their record.

The longer time is for load, when mails wait for each other.
"""
_log = structlog.get_logger("feedback")


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` again and again with pauses around `seconds`; what is away may come back."""
    while True:
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
        try:
            await work()
        except Transient as error:
            _log.warning("put off", reason=str(error))
        except Exception:  # noqa: BLE001 - the rounds go on; the next may succeed
            _log.exception("round failed")
            await asyncio.sleep(_PAUSE_SECONDS)


async def build(context: ServiceContext[Settings]) -> None:
    """Make the objects, start them, and register how they stop."""
    settings, database = context.settings, context.database
    cache = MessageCache(database.messages.find_many)
    guard = UrlGuard(settings.webhook_allow_networks, Resolver(settings.dns).addresses)
    dispatcher = WebhookDispatcher(database.outbox, database.webhooks, Caller(guard))
    overflow = Overflow(database)
    subscriptions = Subscriptions(
        database.webhooks,
        database.outbox,
        dispatcher.notify,
        verified_only=settings.webhook_ownership == "required",
        full=lambda: overflow.full,
    )
    spans = (
        SpanExporter(settings.otlp_url, settings.hostname, settings.otlp_headers)
        if settings.otlp_url
        else None
    )
    ingest = Ingest(database, cache, subscriptions, spans)
    recovery = Recovery(database, cache, ingest)
    replayer = Replayer(database, cache, dispatcher.notify)
    consumer = Consumer(
        context.link,
        context.publisher,
        EVENTS,
        marks=database.marks,
        batch=300,
        prefetch=400,
        parallel=2,
        linger=_LINGER_SECONDS,
        linger_longest=_LINGER_LONGEST_SECONDS,
    )
    archive = Consumer(
        context.link,
        context.publisher,
        ARCHIVE,
        marks=database.marks,
        batch=16,
        prefetch=32,
        parallel=1,
        linger=_LINGER_SECONDS,
    )
    await consumer.start(Handler(ingest.record))
    await archive.start(ArchiveHandler(database.archive.add))
    context.spawn(every(_RECOVERY_SECONDS, recovery.run_once), "recovery")
    context.spawn(every(_REPLAY_SECONDS, replayer.run_once), "replays")
    context.spawn(every(ROUND_SECONDS, Janitor(database).run_once), "janitor")
    context.spawn(dispatcher.run(), "webhooks")
    context.spawn(every(OVERFLOW_SECONDS, overflow.run_once), "webhook overflow")
    look = partial(measure_backlog, database.outbox)
    context.spawn(every(LOOK_SECONDS, look), "webhook backlog")
    context.on_drain(consumer.stop)
    context.on_drain(archive.stop)
    context.on_drain(dispatcher.stop)
    if spans is not None:
        context.spawn(every(SEND_SECONDS, spans.send), "spans")
        context.on_drain(spans.close)


def main() -> None:
    """Run the service until SIGTERM."""
    run("feedback", Settings, build)
