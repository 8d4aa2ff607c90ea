"""Builds the tracker and starts it.

It needs neither broker nor database to serve readers, also not at the start; so it is ready without
them.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog

from postroad_common.broker.topology import EVENTS
from postroad_common.schemas.events import Event, EventBatch
from postroad_common.schemas.framing import encode
from postroad_common.service import ServiceContext, run
from postroad_common.tokens import Keyring, LinkSigner
from postroad_tracker import metrics
from postroad_tracker.burst_detector import BurstDetector
from postroad_tracker.client_address import ClientAddresses
from postroad_tracker.forwarder import SpoolForwarder
from postroad_tracker.handler import Handler
from postroad_tracker.image_cache import ImageCache
from postroad_tracker.listener import TrackerListener
from postroad_tracker.recorder import Recorder
from postroad_tracker.settings import Settings
from postroad_tracker.spool import Spool

_DRAIN_SECONDS = 5.0


async def build(context: ServiceContext[Settings]) -> None:
    """Make the objects, start them, and register how they stop."""
    settings = context.settings
    log = structlog.get_logger("tracker")

    async def publish(events: Sequence[Event]) -> None:
        frame = encode(EventBatch(events=tuple(events)))
        await context.publisher.publish("", EVENTS.name, frame)

    spool = Spool(settings.spool_dir, settings.spool_max_bytes)
    found = spool.open()
    if found:
        log.info("hits of an earlier run will be forwarded", bytes=found)
    if settings.spool_dir is None:
        log.warning("no spool folder (POSTROAD_SPOOL_DIR): unsent hits die with the process")
    metrics.SPOOL_BYTES.set_function(lambda: spool.bytes)
    metrics.SPOOL_LIMIT.set(settings.spool_max_bytes)
    metrics.SPOOL_AGE.set_function(spool.age)
    forwarder = SpoolForwarder(spool, publish)
    handler = Handler(
        LinkSigner(Keyring(settings.secret), settings.tracking_url),
        Recorder(spool, BurstDetector(), forwarder.wake),
        ClientAddresses(settings.trusted_proxies),
        ImageCache(context.database.images),
        urlsplit(settings.tracking_url).path.rstrip("/"),
    )
    listener = TrackerListener(
        handler, settings.bind, settings.tracker_port, reuse_port=settings.reuse_port
    )
    await listener.start()
    log.info("listening", host=settings.bind, port=listener.port)
    forwarding = context.spawn(forwarder.run(), "forwarder")

    async def stop_forwarding() -> None:
        forwarding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await forwarding
        await forwarder.drain(min(_DRAIN_SECONDS, settings.grace_seconds / 2))
        spool.close()

    context.on_drain(listener.stop)
    context.on_drain(stop_forwarding)


def main() -> None:
    """Run the service until SIGTERM."""
    run("tracker", Settings, build, needs_database=False, needs_broker=False)
