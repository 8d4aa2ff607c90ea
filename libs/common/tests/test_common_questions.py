"""Questions and answers through a real broker."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import pytest
from yarl import URL

from postroad_common.broker.link import BrokerLink
from postroad_common.broker.questions import Answerer, Asker, NoAnswer
from postroad_common.broker.topology import PREVIEWS, Queue
from postroad_common.errors import BrokerAway
from postroad_common.mail.identifiers import new_id
from postroad_testing.queues import Queues
from postroad_testing.waiting import until


@pytest.fixture
async def queue(amqp_url: str) -> AsyncIterator[Queue]:
    """Yield a queue like that of previews, of this test alone."""
    mine = Queue(f"test.questions.{new_id()}", "", dead=None, arguments=PREVIEWS.arguments)
    connection = await aio_pika.connect(URL(amqp_url))
    channel = await connection.channel()
    await channel.declare_queue(mine.name, durable=True, arguments=mine.declaration)
    yield mine
    await channel.queue_delete(mine.name)
    await connection.close()


@pytest.fixture
async def link(amqp_url: str) -> AsyncIterator[BrokerLink]:
    made = BrokerLink(amqp_url, "test questions")
    yield made
    await made.close()


async def up(link: BrokerLink) -> None:
    link.start()
    await asyncio.wait_for(link.up.wait(), 90)


async def test_each_question_gets_its_own_answer_though_they_come_in_another_order(
    link: BrokerLink, queue: Queue
):
    second = asyncio.Event()

    async def answer(body: bytes) -> bytes:
        if body == b"first":
            await second.wait()
        else:
            second.set()
        return b"answer to " + body

    asker, answerer = Asker(link), Answerer(link, queue, answer, at_once=2)
    await answerer.start()
    await up(link)
    found = await asyncio.gather(asker.ask(queue, b"first", 60), asker.ask(queue, b"second", 60))
    assert found == [b"answer to first", b"answer to second"]
    await answerer.stop()


async def test_nobody_there_to_answer_is_told_and_the_question_does_not_stay(
    link: BrokerLink, queue: Queue, amqp_url: str
):
    asker = Asker(link)
    await up(link)
    with pytest.raises(NoAnswer):
        await asker.ask(queue, b"?", 0.2)

    async def is_gone() -> bool:
        return await Queues(amqp_url).depth(queue.name) == 0

    await until(is_gone)
    asked = []

    async def answer(body: bytes) -> bytes:
        asked.append(body)
        return body

    answerer = Answerer(link, queue, answer)
    await answerer.start()
    assert await asker.ask(queue, b"later", 60) == b"later"
    assert asked == [b"later"]
    await answerer.stop()


async def test_question_that_fails_does_not_keep_others_from_their_answer(
    link: BrokerLink, queue: Queue
):
    async def answer(body: bytes) -> bytes:
        if body == b"bad":
            raise ValueError("of this test")
        return body

    asker, answerer = Asker(link), Answerer(link, queue, answer)
    await answerer.start()
    await up(link)
    with pytest.raises(NoAnswer):
        await asker.ask(queue, b"bad", 0.2)
    assert await asker.ask(queue, b"good", 60) == b"good"
    await answerer.stop()


async def test_full_queue_refuses_instead_of_waiting(link: BrokerLink, queue: Queue):
    asker = Asker(link)
    await up(link)
    most = PREVIEWS.arguments["x-max-length"]
    crowd = [asyncio.create_task(asker.ask(queue, b"?", 60)) for _ in range(2 * most)]

    async def refused() -> bool:
        # The broker lets a few more in than the limit before it refuses.
        try:
            await asker.ask(queue, b"?", 0.1)
        except NoAnswer:
            return False
        except BrokerAway:
            return True

    await until(refused)
    for one in crowd:
        one.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_question_without_connection_is_refused_at_once(link: BrokerLink, queue: Queue):
    with pytest.raises(BrokerAway):
        await Asker(link).ask(queue, b"?", 60)
