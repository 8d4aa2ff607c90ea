"""Starts the sender; the only place that builds its objects."""

import asyncio
import contextlib

from postroad_common.broker import Consumer, topology
from postroad_common.errors import StoreAway
from postroad_common.service import ServiceContext, run
from postroad_sender.body import Bodies
from postroad_sender.book import Book
from postroad_sender.control import CLOSED_LONGEST, Caps
from postroad_sender.courier import Crew, Slots
from postroad_sender.destination import Destination, Destinations
from postroad_sender.dialer import Contexts, Dialer
from postroad_sender.dispatch import Dispatcher
from postroad_sender.endings import Endings
from postroad_sender.handler import Handler
from postroad_sender.job import Job, Shard
from postroad_sender.journal import Journal
from postroad_sender.lane import Lane
from postroad_sender.resolver import Resolver
from postroad_sender.routes import Routes
from postroad_sender.schedule import RetrySchedule
from postroad_sender.settings import Settings


async def build(context: ServiceContext[Settings]) -> None:
    """Make everything, start to consume, and say how to stop."""
    settings = context.settings
    schedule = RetrySchedule.parse(settings.retry_schedule)
    journal = Journal(settings.spool_dir)
    journal.open()
    resolver = Resolver(settings.dns, settings.hostname)
    dialer = Dialer(resolver, settings.hostname, Contexts.make())
    slots = Slots(settings.sender_connections)
    handler = Handler(journal, Bodies(context.database.bodies.get))
    endings = Endings(
        context.publisher, context.events, journal, schedule=schedule, ended=handler.over
    )

    book = Book(context.database.lanes, asyncio.get_running_loop().time)

    def make_crew(lane: Lane[Job], destination: Destination) -> Crew:
        book.prepare(lane)
        return Crew(
            lane,
            destination,
            dialer,
            slots=slots,
            endings=endings,
            pieces=handler.pieces,
            idle_seconds=settings.sender_connection_idle,
            most_messages=settings.sender_connection_messages,
        )

    caps = Caps(
        connections=settings.sender_lane_connections,
        closed_longest=min(CLOSED_LONGEST, max(schedule.seconds)),
    )
    routes = Routes.parse(settings.routes)
    shards = [Shard(queue.name, settings.sender_shard_prefetch) for queue in topology.SHARD_QUEUES]
    destinations = Destinations(routes, resolver)
    dispatcher = Dispatcher(destinations, endings, make_crew, caps=caps, shards=shards)
    handler.connect(endings, dispatcher)
    consumers = [
        Consumer(
            context.link,
            context.publisher,
            queue,
            handler.for_shard(shard),
            prefetch=settings.sender_shard_prefetch,
            parallel=1,
            ends_later=True,
        )
        for queue, shard in zip(topology.SHARD_QUEUES, shards, strict=True)
    ]
    with contextlib.suppress(StoreAway):  # mail flows without it
        await book.load()
    for consumer in consumers:
        await consumer.start()
    context.spawn(dispatcher.watch(), "lanes")
    context.spawn(book.keep(dispatcher.lanes), "book")

    async def drain() -> None:
        """Finish the transactions under way; the rest goes back to the queue."""
        handler.draining = True
        stops = [asyncio.create_task(consumer.stop()) for consumer in consumers]
        await asyncio.sleep(0)  # from here on, what is left alone goes back to the queue
        left = handler.take_timed() + await dispatcher.stop()
        for job in left:
            for delivery in job.deliveries:
                delivery.leave()
        await endings.settled()
        with contextlib.suppress(StoreAway):
            await book.save(dispatcher.lanes())
        await context.events.flush()
        await asyncio.gather(*stops)
        journal.close()

    context.on_drain(drain)


def main() -> None:
    """Run the service."""
    run("sender", Settings, build)
