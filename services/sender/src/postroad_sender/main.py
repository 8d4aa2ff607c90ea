"""Starts the sender; the only place that builds its objects."""

import asyncio
import contextlib
from functools import partial

from postroad_common.broker import Consumer, SpareQueues, topology
from postroad_common.broker.topology import Queue
from postroad_common.errors import StoreAway
from postroad_common.mail.identifiers import new_id
from postroad_common.service import ServiceContext, run
from postroad_sender.connect.destination import Destination, Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.delivery.body import Bodies
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.journal import Journal
from postroad_sender.delivery.schedule import RetrySchedule
from postroad_sender.dns.resolver import Resolver
from postroad_sender.drain import Drain
from postroad_sender.handler import Handler
from postroad_sender.lanes.backlog import Backlogs
from postroad_sender.lanes.dispatch import Dispatcher
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.lane_store import LaneStore
from postroad_sender.lanes.ownership import Ownership
from postroad_sender.lanes.worker import ConnectionPool
from postroad_sender.limits.caps import StaticCaps
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.limits.registry import LimitRegistry
from postroad_sender.routes.providers import Providers
from postroad_sender.routes.routes import Routes
from postroad_sender.routes.sources import Sources
from postroad_sender.settings import Settings
from postroad_sender.throttle.controller import CLOSED_LONGEST, Caps
from postroad_sender.tls.fetch import PolicyFetcher
from postroad_sender.tls.policies import StsPolicies
from postroad_sender.tls.records import PolicyRecords


async def build(context: ServiceContext[Settings]) -> None:
    """Make everything, start to consume, and say how to stop."""
    settings = context.settings
    schedule = RetrySchedule.parse(settings.retry_schedule)
    journal = Journal(settings.spool_dir)
    journal.open()
    resolver = Resolver(settings.dns, settings.hostname, dnssec=settings.dnssec == "trusted")
    records = PolicyRecords(resolver)
    fetcher = PolicyFetcher(resolver)
    policies = StsPolicies(records, fetcher.fetch, context.database.policies)
    dialer = Dialer(resolver, settings.hostname, Contexts.make(), records=records)
    connection_limit = ConnectionLimit(settings.sender_connections)
    handler = Handler(journal, Bodies(context.database.bodies.get))
    disposition = Disposition(
        context.publisher, context.events, journal, schedule=schedule, ended=handler.forget
    )

    lane_store = LaneStore(context.database.lanes, asyncio.get_running_loop().time)

    def make_pool(lane: Lane[Job], destination: Destination, home: Shard | None) -> ConnectionPool:
        lane_store.prepare(lane)
        return ConnectionPool(
            lane,
            destination,
            dialer,
            connection_limit=connection_limit,
            disposition=disposition,
            pieces=handler.pieces,
            idle_seconds=settings.sender_connection_idle,
            most_messages=settings.sender_connection_messages,
            home=home,
            requeue=dispatcher.requeue,
        )

    caps = Caps(
        connections=settings.sender_lane_connections,
        closed_longest=min(CLOSED_LONGEST, max(schedule.seconds)),
    )
    routes = Routes.parse(settings.routes)
    sources = Sources.parse(settings.sources)
    providers = Providers.parse(settings.providers)
    static = StaticCaps.parse(settings.caps, sources, providers)
    shards = [Shard(queue.name, settings.sender_shard_prefetch) for queue in topology.SHARD_QUEUES]
    limit_registry = LimitRegistry(
        static,
        context.database.leases,
        lambda: [shard.name for shard in shards if shard.is_active],
        asyncio.get_running_loop().time,
    )
    destinations = Destinations(routes, resolver, policies, sources=sources, providers=providers)
    dispatcher = Dispatcher(
        destinations,
        disposition,
        make_pool,
        caps=caps,
        shards=shards,
        limit_registry=limit_registry,
    )
    handler.connect(disposition, dispatcher)
    lane_store.apply_directives = dispatcher.apply_directives

    def consume(queue: Queue, shard: Shard) -> Consumer:
        return Consumer(
            context.link,
            context.publisher,
            queue,
            handler.for_shard(shard),
            prefetch=shard.capacity,
            parallel=1,
            ends_later=True,
            lost=partial(dispatcher.lost, shard),
        )

    queues = SpareQueues(context.link)
    backlogs = dispatcher.backlogs = Backlogs(
        queues,
        context.database.backlogs,
        shards={shard.name: shard for shard in shards},
        find=dispatcher.find,
        consume=consume,
        most=settings.sender_backlog_queues,
    )
    for queue, shard in zip(topology.SHARD_QUEUES, shards, strict=True):
        shard.consumer = consume(queue, shard)
    handover = Drain(
        handler=handler,
        dispatcher=dispatcher,
        backlogs=backlogs,
        lane_store=lane_store,
        disposition=disposition,
        shards=shards,
    )
    ownership = Ownership(
        f"{settings.hostname}-{new_id()}",
        context.database.replicas,
        publisher=context.publisher,
        shards=shards,
        release=handover.release,
        gained=lambda: lane_store.reload(dispatcher.lanes()),
    )
    with contextlib.suppress(StoreAway):  # mail flows without it
        await lane_store.load()
    await queues.start()
    for shard in shards:
        if shard.consumer is not None:
            await shard.consumer.start()
    context.spawn(dispatcher.run(), "lanes")
    context.spawn(lane_store.run(dispatcher.lanes), "book")
    context.spawn(ownership.run(), "shards")
    context.spawn(backlogs.run(), "backlogs")
    context.spawn(limit_registry.run(), "caps")
    context.spawn(limit_registry.cluster_limits.run(), "shares")

    async def drain() -> None:
        """Finish the transactions under way; the rest goes back to the queue."""
        await asyncio.gather(handover.drain(), ownership.withdraw())
        await limit_registry.close()
        await context.events.flush()
        journal.close()

    context.on_drain(drain)


def main() -> None:
    """Run the service."""
    run("sender", Settings, build)
