"""The handler when mail is heavy or hostile, and when the broker breaks off."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from prometheus_client import REGISTRY
from yarl import URL

from postroad_common.broker import BrokerLink, Consumer, topology
from postroad_common.broker.suspects import REDELIVERIES
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.framing import decode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import Submission
from postroad_common.store.database import Database
from postroad_testing.pace import timed
from postroad_testing.waiting import until
from postroad_transformer.handler import WAITS
from postroad_transformer.publishing import GROUPS_AT_ONCE
from postroad_transformer.workers.pool import HtmlBounds

if TYPE_CHECKING:
    from conftest import Road  # the service's own, beside this file

Make = Callable[..., Submission]


def assembled(message: OutboundMessage, frame: bytes, stored: bytes) -> bytes:
    """Return the message as the sender puts it together."""
    body = stored[message.skip :]
    for patch in reversed(message.patches):
        at = patch.at - message.skip
        body = body[:at] + patch.data + body[at:]
    return frame + body


async def bring_again(road: "Road", times: int) -> None:
    """Let the broker count the message of the paused queue as brought before."""
    connection = await aio_pika.connect(road.url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(topology.ACCEPTED.name)
        for _ in range(times):
            message = await queue.get(timeout=30)
            assert message is not None
            await message.nack(requeue=True)


def requeued(reason: RequeueReason) -> float:
    return REGISTRY.get_sample_value("postroad_requeued_total", {"reason": reason}) or 0.0


class Line:
    """A TCP line to the broker that breaks by itself after `budget` octets towards it, once."""

    def __init__(self, target: tuple[str, int], budget: int) -> None:
        self.target = target
        self.budget = budget
        self.breaks = 0

    async def open(self) -> int:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self.target)
        answers = asyncio.create_task(self.pump(there, writer))
        while chunk := await reader.read(4096):
            self.budget -= len(chunk)
            if self.budget < 0 and not self.breaks:
                self.breaks += 1
                break
            back.write(chunk)
            await back.drain()
        answers.cancel()
        back.close()
        writer.close()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)


async def test_when_the_broker_breaks_off_the_rest_follows_and_little_comes_twice(
    make_road: type["Road"], amqp_url: str, database: Database, make_submission: Make
):
    url = URL(amqp_url)
    line = Line((url.host or "", url.port or 0), budget=150_000)
    road = make_road(str(url.with_host("127.0.0.1").with_port(await line.open())), database)
    road.incoming = BrokerLink(amqp_url, "test consume")
    road.consumer = Consumer(road.incoming, road.publisher, topology.ACCEPTED)
    road.url = amqp_url
    await road.start()
    try:
        submission = make_submission(*(f"r{i}@d{i % 7}.test" for i in range(300)))
        await road.submit(submission)
        assert len(await road.told(300)) == 300
        sent = await road.outbound(300)
    finally:
        await road.stop()
        line.server.close()
    assert line.breaks == 1
    assert {message.id for message, _ in sent} == {each.id for each in submission.recipients}
    assert len(sent) <= 300 + GROUPS_AT_ONCE
    assert await road.depth(topology.ACCEPTED.name) == 0


# Every selector matches every element, which the engine takes quadratic time for: many seconds.
SLOW = (
    b"From: Shop <shop@news.example.com>\r\nTo: r@d.test\r\nSubject: Hi\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8"
    b"\r\n\r\n<style>" + b"p{a:b}" * 1_500 + b"</style>" + b"<p>x</p>" * 1_500
)
# As many tracked links and images as a mail may have, made anew for each recipient.
MANY = (
    b"From: Shop <shop@news.example.com>\r\nTo: r@d.test\r\nSubject: Hi\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8"
    b"\r\n\r\n" + b"<a href=http://a.test/x>x</a><img src=http://a.test/y>" * 2_000
)


async def test_heavy_mail_is_overtaken_and_goes_out_as_it_came(road: "Road", make_submission: Make):
    heavy = make_submission("a@one.test", credential="bad")
    light = make_submission("b@one.test")
    await road.consumer.pause(RequeueReason.PAUSED)  # so that both come together
    await road.submit(heavy, SLOW)
    await road.submit(light)
    await road.consumer.resume()
    shards = [queue.name for queue in topology.SHARD_QUEUES]
    first, last = [decode(OutboundMessage, frame) for frame in await road.taken(shards, 2)]
    # both are for one shard, whose queue keeps the order
    assert [first[0].submission, last[0].submission] == [light.id, heavy.id]
    message, raw = last
    assert message.body is not None
    whole = assembled(message, bytes(raw), await road.database.bodies.get(message.body))
    assert whole.endswith(SLOW.partition(b"\r\n\r\n")[2])
    changes = [event.facts["changes"] for event in await road.told(2)]
    reasons = [reason for change in changes for reason in change.get("mime", ())]
    assert reasons == ["HTML left as it is: it takes more than 1.5 s of a processor"]
    assert await road.depth(topology.ACCEPTED.name) == 0


async def test_on_a_machine_too_busy_for_it_heavy_mail_waits_before_it_goes_out_as_it_came(
    make_road: type["Road"], amqp_url: str, database: Database, make_submission: Make
):
    road = make_road(amqp_url, database, bounds=HtmlBounds(patience=0))
    await road.start()
    await road.consumer.pause(RequeueReason.PAUSED)
    await road.submit(make_submission(), SLOW)
    await bring_again(road, WAITS - 1)
    waited = requeued(RequeueReason.DEPENDENCY_AWAY)
    await road.consumer.resume()
    await road.outbound(1)
    (event,) = await road.told(1)
    await road.stop()
    reason = "HTML left as it is: no answer in 0 s: the machine is too busy"
    assert event.facts["changes"]["mime"] == [reason]
    assert requeued(RequeueReason.DEPENDENCY_AWAY) - waited == 1


async def test_what_came_back_again_and_again_is_worked_on_in_another_process(
    road: "Road", make_submission: Make
):
    await road.consumer.pause(RequeueReason.PAUSED)
    await road.submit(make_submission())
    await bring_again(road, REDELIVERIES)
    assert not road.workers.processes.idle
    await road.consumer.resume()
    ((_, raw),) = await road.outbound(1)
    assert b'<p style="color: red">' in raw
    assert road.workers.processes.idle


@timed(1.0)
async def test_hostile_mail_of_one_login_does_not_delay_anothers(
    limit: float | None, road: "Road", make_submission: Make
):
    readers, mails = (64, 5) if limit else (2, 1)
    bad = [make_submission(credential="bad") for _ in range(mails)]
    crowds = [
        make_submission(*[f"r{n}@d{n}.test" for n in range(readers)], credential=f"bad{number}")
        for number in range(mails)
    ]
    for submission in bad:
        await road.submit(submission, SLOW)
    for submission in crowds:
        await road.submit(submission, MANY)
    good = [make_submission(credential="good") for _ in range(20)]
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    all_seen = asyncio.Event()

    async def take(message: AbstractIncomingMessage) -> None:
        seen.setdefault(decode(OutboundMessage, message.body)[0].submission, time.monotonic())
        if all(submission.id in seen for submission in (*good, *crowds, *bad)):
            all_seen.set()

    connection = await aio_pika.connect(road.url)
    async with connection, asyncio.timeout(90):
        channel = await connection.channel()
        for shard in topology.SHARD_QUEUES:
            await (await channel.get_queue(shard.name)).consume(take, no_ack=True)
        for submission in good:
            sent[submission.id] = time.monotonic()
            await road.submit(submission)
            await until(lambda submission=submission: submission.id in seen, seconds=60)
        await all_seen.wait()
    latencies = [seen[key] - sent[key] for key in sent]
    if limit is not None:
        assert max(latencies) < limit
