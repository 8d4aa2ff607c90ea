"""Settling: acknowledged is only what is safe, together with others or alone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aio_pika
import pytest

from postroad_common.broker import (
    BrokerLink,
    Consumer,
    Delivery,
    EventWriter,
    Publication,
    Publisher,
    topology,
)
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, EventName, happened
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_sender.delivery.commit import Committer, PendingCommit
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.journal import Journal

SHARD = topology.SHARD_QUEUES[0]
ROOM = topology.RETRY_TIERS[-1].name


class Settling:
    """A settler between a shard and the other queues."""

    def __init__(self, url: str, publisher: Publisher, events: EventWriter) -> None:
        self.url = url
        self.publisher = publisher
        self.jobs: list[Job] = []
        self.ended: list[Job] = []
        self.journal = Journal()
        self.settler = Committer(publisher, events, self.journal, self.ended.append)

    async def take(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            found = new_id()
            message = OutboundMessage(
                id=found,
                submission=found,
                account="acme",
                envelope="",
                mail_from="",
                recipients=(OutboundRecipient(id=found, address="a@b.test"),),
                received=time.time(),
                expires=time.time() + 60,
                size=1,
            )
            self.jobs.append(Job(message, memoryview(b""), "b.test", Shard("", 1), [delivery]))

    async def depth(self, *names: str) -> list[int]:
        connection = await aio_pika.connect(self.url)
        async with connection:
            channel = await connection.channel()
            found = [await channel.declare_queue(name, passive=True) for name in names]
            return [one.declaration_result.message_count or 0 for one in found]


@pytest.fixture
async def settling(amqp_url: str) -> AsyncIterator[Settling]:
    """Four jobs, taken from the shard and not ended."""
    async with AsyncExitStack() as stack:
        links = [BrokerLink(amqp_url, role) for role in ("out", "in")]
        publisher = Publisher(links[0])
        for link in links:
            link.start()
            stack.push_async_callback(link.close)
            await asyncio.wait_for(link.up.wait(), 90)
        events = EventWriter(publisher)
        events.start()
        stack.push_async_callback(events.close)
        settling = Settling(amqp_url, publisher, events)
        consumer = Consumer(links[1], publisher, SHARD, settling.take, ends_later=True)
        await consumer.start()
        await publisher.publish_many([("", SHARD.name, b"m")] * 4)
        async with asyncio.timeout(90):
            while len(settling.jobs) < 4:  # noqa: ASYNC110 - a handler counts up
                await asyncio.sleep(0.01)
        yield settling
        await consumer.stop()


def told(job: Job) -> list[Event]:
    return [happened(EventName.DEFERRED, job.message.id, time.time(), {}, account="acme")]


async def test_jobs_of_one_turn_are_all_acknowledged_and_a_queue_that_is_gone_is_replaced(
    settling: Settling,
):
    one, gone, only_told, several = settling.jobs
    waits = Publication("", ROOM, b"waits")
    commit = settling.settler.commit
    commit(PendingCommit(one, told(one), [waits]))
    commit(PendingCommit(gone, [], [Publication("", "sender.parked.gone", b"lost")], instead=waits))
    commit(PendingCommit(only_told, told(only_told), []))
    commit(PendingCommit(several, [], [Publication("", topology.FAILURES.name, b"failure"), waits]))
    assert settling.ended == []
    await asyncio.wait_for(settling.settler.finished(), 90)
    assert set(settling.ended) == set(settling.jobs)
    assert all(delivery.ended for job in settling.jobs for delivery in job.deliveries)
    assert await settling.depth(ROOM, topology.FAILURES.name, SHARD.name) == [3, 1, 0]
    assert settling.journal.was_handed_on(one.key)
    assert settling.journal.was_handed_on(gone.key)
    assert not settling.journal.was_handed_on(only_told.key)
