"""The transformer as a process that is killed when mails of one AMQP message are half done."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from postroad_common.broker import Delivery, topology
from postroad_common.schemas.bundle import bundle
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import Submission
from postroad_testing.broker import connected
from postroad_testing.process import ServiceProcess
from postroad_testing.waiting import until

HEAD = b"From: Shop <sender@example.com>\r\nSubject: x\r\nContent-Type: text/html\r\n\r\n"
LIGHT = HEAD + b"<p>Dear reader</p>\r\n"
# Every selector matches every element, which takes the engine many seconds.
HEAVY = HEAD + b"<style>" + b"p{a:b}" * 1_500 + b"</style>" + b"<p>x</p>" * 1_500


async def test_bundle_that_is_half_done_when_its_process_is_killed_loses_nothing(
    amqp_url: str, mongodb_uri: str, make_submission: Callable[..., Submission], tmp_path: Path
) -> None:
    light = [make_submission() for _ in range(3)]
    heavy = make_submission()
    frames = [encode(one, LIGHT) for one in light]
    together = bundle([frames[0], encode(heavy, HEAVY), *frames[1:]])
    sent: dict[str, set[str]] = defaultdict(set)
    """The ids of messages by their submission."""

    async def take(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            message, _ = decode(OutboundMessage, delivery.body)
            sent[message.submission].add(message.id)
            delivery.ack()

    settings = {"AMQP_URL": amqp_url, "MONGODB_URI": mongodb_uri}
    async with connected(amqp_url) as broker:
        for queue in topology.SHARD_QUEUES:
            await broker.consume(take, queue)
        await broker.publisher.publish("", topology.ACCEPTED.name, together)
        with ServiceProcess("transformer", tmp_path / "log", **settings) as process:
            process.start()
            await until(lambda: {one.id for one in light} <= set(sent))
            await process.kill()
            process.start()
            await until(lambda: heavy.id in sent)
            assert await process.end() == 0
        # Whatever was made twice has the same id, by which the sender knows it.
        await until(lambda: sent == {one.id: {one.recipients[0].id} for one in (heavy, *light)})
        assert await broker.depth(topology.ACCEPTED.name) == 0
