"""Settling: acknowledged is only what is safe, together with others or alone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

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
from postroad_common.schemas.events import Event, EventName, happened
from postroad_sender.delivery.commit import Committer, PendingCommit
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.journal import Journal
from postroad_testing import factories
from postroad_testing.queues import Queues
from postroad_testing.waiting import until

SHARD = topology.SHARD_QUEUES[0]
ROOM = topology.RETRY_TIERS[-1].name


class Settling:
    """A settler between a shard and the other queues."""

    def __init__(self, url: str, publisher: Publisher, events: EventWriter) -> None:
        self.queues = Queues(url)
        self.publisher = publisher
        self.jobs: list[Job] = []
        self.ended: list[Job] = []
        self.journal = Journal()
        self.settler = Committer(publisher, events, self.journal, self.ended.append)

    async def take(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            message = factories.outbound("a@b.test")
            self.jobs.append(Job(message, memoryview(b""), "b.test", Shard("", 1), [delivery]))


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
        consumer = Consumer(links[1], publisher, SHARD, ends_later=True)
        await consumer.start(settling.take)
        await publisher.publish_many([("", SHARD.name, b"m")] * 4)
        await until(lambda: len(settling.jobs) == 4)
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
    for name, count in ((ROOM, 3), (topology.FAILURES.name, 1), (SHARD.name, 0)):
        assert await settling.queues.depth(name) == count
    assert settling.journal.was_handed_on(one.key)
    assert settling.journal.was_handed_on(gone.key)
    assert not settling.journal.was_handed_on(only_told.key)


async def test_jobs_whose_queues_are_all_gone_go_on_alone(settling: Settling):
    first, second, third, fourth = settling.jobs
    waits = Publication("", ROOM, b"waits")
    for job in (first, second, third, fourth):
        lost = Publication("", "sender.parked.gone", b"lost")
        settling.settler.commit(PendingCommit(job, [], [lost], instead=waits))
    await asyncio.wait_for(settling.settler.finished(), 90)
    assert set(settling.ended) == set(settling.jobs)
    assert await settling.queues.depth(ROOM) == 4
    assert await settling.queues.depth(SHARD.name) == 0


async def test_job_that_is_brought_again_while_others_are_published_is_not_taken_for_safe(
    settling: Settling,
):
    one, other, brought, left = settling.jobs
    waits = Publication("", ROOM, b"waits")
    (again,) = brought.deliveries
    brought.deliveries = []  # the broker has taken it back
    settling.settler.commit(PendingCommit(one, [], [waits]))
    settling.settler.commit(PendingCommit(other, [], [waits]))
    settling.settler.commit(PendingCommit(brought, told(brought), [waits]))
    loop = asyncio.get_running_loop()
    # In the turn after the next one the batch is being published.
    loop.call_soon(lambda: loop.call_soon(brought.deliveries.append, again))
    await asyncio.wait_for(settling.settler.finished(), 90)
    assert set(settling.ended) == {one, other, brought}
    assert await settling.queues.depth(ROOM) == 2 + again.ended
    for delivery in (again, *left.deliveries):
        if not delivery.ended:
            delivery.ack()


async def test_defect_in_publishing_leaves_no_job_behind(
    settling: Settling, monkeypatch: pytest.MonkeyPatch
):
    publisher = settling.publisher
    publish, failed = publisher.publish_each, asyncio.Event()

    async def fail_once(publications: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise ZeroDivisionError
        return await publish(publications)

    monkeypatch.setattr(publisher, "publish_each", fail_once)
    for job in settling.jobs:
        settling.settler.commit(PendingCommit(job, [], [Publication("", ROOM, b"waits")]))
    await asyncio.wait_for(settling.settler.finished(), 90)
    assert set(settling.ended) == set(settling.jobs)
    assert await settling.queues.depth(ROOM) == 4
