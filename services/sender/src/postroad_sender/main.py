"""Starts the sender; the only place that builds its objects, each once and in order."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from postroad_common.broker import Consumer, DynamicQueues, topology
from postroad_common.broker.topology import Queue
from postroad_common.errors import StoreAway
from postroad_common.mail.identifiers import new_id
from postroad_common.openfiles import allow_open_files
from postroad_common.publicaddress import is_public_text
from postroad_common.service import ServiceContext, run
from postroad_sender import metrics
from postroad_sender.connect.destination import Destination, Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.delivery.body import BodyReader
from postroad_sender.delivery.content import ContentReader
from postroad_sender.delivery.counts import make_series
from postroad_sender.delivery.directed import DirectedMessages
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.journal import Journal
from postroad_sender.delivery.schedule import RetrySchedule
from postroad_sender.delivery.simulator import Simulator
from postroad_sender.delivery.under_way import JobsUnderWay
from postroad_sender.dns.resolver import MOST_QUESTIONS, Resolver
from postroad_sender.drain import Drain
from postroad_sender.handler import Handler
from postroad_sender.lanes.backlog import Backlogs
from postroad_sender.lanes.backlog_age import BacklogAges
from postroad_sender.lanes.backlog_flow import BacklogFlow
from postroad_sender.lanes.dispatch import LaneDispatcher
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.lane_store import LaneStore
from postroad_sender.lanes.ownership import Ownership
from postroad_sender.lanes.pool import ConnectionPool, Means, Requeue
from postroad_sender.lanes.worker import work
from postroad_sender.limits.address_limits import AddressLimits
from postroad_sender.limits.caps import StaticCaps
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.limits.registry import LimitRegistry
from postroad_sender.routes.providers import Providers
from postroad_sender.routes.routes import Routes
from postroad_sender.routes.sources import Sources
from postroad_sender.settings import Settings
from postroad_sender.throttle.controller import CLOSED_LONGEST, Caps
from postroad_sender.timings import Timings
from postroad_sender.tls.fetch import MOST_FETCHES, PolicyFetcher
from postroad_sender.tls.policies import StsPolicies
from postroad_sender.tls.records import PolicyLookups

DEFAULT_TIMINGS = Timings()
Context = ServiceContext[Settings]


async def build(
    context: Context,
    timings: Timings = DEFAULT_TIMINGS,
    permits: Callable[[str], bool] = is_public_text,
) -> None:
    """Make everything, start to consume, and say how to stop."""
    settings = context.settings
    allow_open_files(settings.sender_connections + MOST_QUESTIONS + MOST_FETCHES)
    journal = Journal(settings.spool_dir)
    journal.open()
    metrics.JOURNAL_BYTES.set_function(lambda: journal.octets)
    delivery = _delivery(context, journal)
    make_consumer = partial(_make_consumer, context)
    most = settings.sender_shard_prefetch
    shards = [
        Shard(queue.name, most, make_consumer(queue, most)) for queue in topology.SHARD_QUEUES
    ]
    ways = _ways(context, permits, lambda: sum(one.is_active for one in shards) / len(shards))
    limits = LimitRegistry(
        StaticCaps.parse(settings.caps, ways.sources, ways.providers),
        context.database.leases,
        lambda: [shard.name for shard in shards if shard.is_active],
        asyncio.get_running_loop().time,
        timings=timings,
    )
    queues = DynamicQueues(context.link)
    backlogs = Backlogs(
        queues, context.database.backlogs, make_consumer, most=settings.sender_backlog_queues
    )
    lane_store = LaneStore(context.database.lanes, asyncio.get_running_loop().time, timings=timings)
    dispatcher = LaneDispatcher(
        ways.destinations,
        delivery.disposition,
        partial(_make_pool, lane_store, _means(settings, ways.dialer, delivery)),
        caps=_caps(settings),
        shards=shards,
        limit_registry=limits,
        backlogs=backlogs,
        timings=timings,
    )
    directed = DirectedMessages(context.database.message_directives, timings=timings)
    handler = Handler(
        delivery.under_way,
        journal,
        delivery.disposition,
        dispatcher,
        directed=directed,
        simulator=Simulator(
            settings.simulator_domain, delivery.disposition, delivery.content.pieces, time.time
        ),
    )
    begin = partial(_begin, handler, dispatcher)
    flow = BacklogFlow(
        backlogs,
        queues,
        context.database.backlogs,
        shards={shard.name: shard for shard in shards},
        find=dispatcher.find,
        begin=begin,
        timings=timings,
    )
    drain = Drain(
        handler=handler,
        dispatcher=dispatcher,
        backlogs=flow,
        lane_store=lane_store,
        disposition=delivery.disposition,
        shards=shards,
    )
    ownership = Ownership(
        f"{settings.hostname}-{new_id()}",
        context.database.replicas,
        publisher=context.publisher,
        shards=shards,
        release=drain.release,
        gained=lambda: lane_store.reload(dispatcher.lanes()),
        timings=timings,
    )
    with contextlib.suppress(StoreAway):  # mail flows without it
        await lane_store.load()
        await directed.read()
    await queues.start()
    for shard in shards:
        await begin(shard)
    context.spawn(dispatcher.run(), "lanes")
    context.spawn(lane_store.run(dispatcher.lanes, dispatcher.apply_directives), "lane store")
    context.spawn(directed.run(handler.withdraw), "directives for messages")
    context.spawn(ownership.run(), "shards")
    context.spawn(flow.run(), "backlogs")
    ages = BacklogAges(backlogs, queues, context.database.backlogs, timings=timings)
    context.spawn(ages.run(), "ages of backlogs")
    context.spawn(limits.run(), "limits")
    context.spawn(limits.cluster_limits.run(), "cluster limits")

    async def stop() -> None:
        """Finish the transactions under way; the rest goes back to the queue."""
        await asyncio.gather(drain.drain(), ownership.withdraw())
        await limits.close()
        await context.events.flush()
        journal.close()

    context.on_drain(stop)


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What one message needs from its arrival to its end."""

    under_way: JobsUnderWay
    disposition: Disposition
    content: ContentReader


def _delivery(context: Context, journal: Journal) -> _Delivery:
    under_way = JobsUnderWay()
    disposition = Disposition(
        context.publisher,
        context.events,
        journal,
        schedule=RetrySchedule.parse(context.settings.retry_schedule),
        ended=under_way.forget,
    )
    content = ContentReader(BodyReader(context.database.bodies.get), disposition)
    return _Delivery(under_way, disposition, content)


@dataclass(frozen=True, slots=True)
class _Ways:
    """Where mail goes, from which source, and how a session is opened there."""

    sources: Sources
    providers: Providers
    destinations: Destinations
    dialer: Dialer


def _ways(context: Context, permits: Callable[[str], bool], share: Callable[[], float]) -> _Ways:
    settings = context.settings
    sources = Sources.parse(settings.sources)
    resolver = Resolver(
        settings.dns,
        settings.hostname,
        aliases=[source.ehlo for source in sources if source.ehlo is not None],
        dnssec=settings.dnssec == "trusted",
        permits=permits,
    )
    records = PolicyLookups(resolver)
    policies = StsPolicies(records, PolicyFetcher(resolver).fetch, context.database.policies)
    providers = Providers.parse(settings.providers)
    make_series(providers.names)
    destinations = Destinations(
        Routes.parse(settings.routes), resolver, policies, sources=sources, providers=providers
    )
    limits = AddressLimits(
        settings.sender_address_connections, asyncio.get_running_loop().time, share
    )
    dialer = Dialer(resolver, settings.hostname, Contexts.make(), records=records, limits=limits)
    return _Ways(sources, providers, destinations, dialer)


def _means(settings: Settings, dialer: Dialer, delivery: _Delivery) -> Means:
    return Means(
        dialer=dialer,
        connection_limit=ConnectionLimit(settings.sender_connections),
        disposition=delivery.disposition,
        pieces=delivery.content.pieces,
        work=work,
        idle_seconds=settings.sender_connection_idle,
        most_messages=settings.sender_connection_messages,
        openings_per_second=settings.sender_lane_openings,
    )


def _caps(settings: Settings) -> Caps:
    longest = max(RetrySchedule.parse(settings.retry_schedule).seconds)
    return Caps(
        connections=settings.sender_lane_connections,
        closed_longest=min(CLOSED_LONGEST, longest),
    )


def _make_pool(
    lane_store: LaneStore,
    means: Means,
    /,
    lane: Lane[Job],
    destination: Destination,
    *,
    home: Shard | None,
    requeue: Requeue,
) -> ConnectionPool:
    """Make the pool of a new lane, which takes up what was learnt of its site."""
    lane_store.prepare(lane)
    return ConnectionPool(lane, destination, means, home=home, requeue=requeue)


def _make_consumer(context: Context, queue: Queue, most: int) -> Consumer:
    """Make what brings up to `most` messages of `queue` at once."""
    return Consumer(
        context.link, context.publisher, queue, prefetch=most, parallel=1, ends_later=True
    )


async def _begin(handler: Handler, dispatcher: LaneDispatcher, shard: Shard) -> None:
    """Begin to bring the messages of `shard` to `handler`."""
    if shard.consumer is not None:
        lost = partial(dispatcher.lost, shard)
        await shard.consumer.start(handler.for_shard(shard), lost=lost)


def main() -> None:
    """Run the service."""
    run("sender", Settings, build)
