"""Webhooks over real sockets and a real database."""

import asyncio
import contextlib
import ipaddress
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from standardwebhooks import Webhook as Verifier

from postroad_common.mail.identifiers import new_id
from postroad_common.store import Database
from postroad_common.store.outbox import DeliveryState, WebhookDelivery
from postroad_common.store.webhooks import Webhook
from postroad_feedback import backoff
from postroad_feedback.calls import Caller, signed
from postroad_feedback.dispatch import Dispatcher
from postroad_feedback.guard import Guard
from postroad_feedback.resolver import Resolver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


@dataclass
class EndPoint:
    """An HTTP server that notes what it gets and answers as told."""

    answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
    silent: bool = False
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    delay: float = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                self.got.append((headers, body))
                if self.silent:
                    await reader.read()
                await asyncio.sleep(self.delay)
                self.at_once -= 1
                writer.write(self.answer)
                await writer.drain()
        writer.close()


Open = Callable[[EndPoint], Awaitable[EndPoint]]


@pytest.fixture
async def listening() -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        async def listen(end_point: EndPoint) -> EndPoint:
            server = await asyncio.start_server(end_point.serve, "127.0.0.1", 0)
            end_point.port = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
            return end_point

        yield listen


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri)
    await database.prepare()
    yield database
    await database.close()


@contextlib.asynccontextmanager
async def dispatching(
    database: Database, allowed: list[ipaddress.IPv4Network | ipaddress.IPv6Network] | None = None
) -> AsyncIterator[Dispatcher]:
    guard = Guard(LOOPBACK if allowed is None else allowed, Resolver().addresses)
    dispatcher = Dispatcher(database.outbox, database.webhooks, Caller(guard))
    task = asyncio.create_task(dispatcher.run())
    yield dispatcher
    await dispatcher.stop()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def subscribe(database: Database, end_point: EndPoint, path: str = "/hook") -> Webhook:
    return await database.webhooks.create(
        account="acme",
        url=f"http://127.0.0.1:{end_point.port}{path}",
        events=(),
        secret=SECRET,
    )


def delivery(webhook: Webhook, created: float | None = None) -> WebhookDelivery:
    now = time.time() if created is None else created
    return WebhookDelivery(
        id=new_id(now),
        webhook=webhook.id,
        account="acme",
        event="delivered",
        message=new_id(now),
        body=json.dumps({"type": "delivered", "data": {"recipient": "j\u00f6@example.com"}}),
        created=now,
        due=now,
    )


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the condition is in the database
            await asyncio.sleep(0.02)


async def states(database: Database, webhook: Webhook) -> list[str]:
    return [item.state.value for item in await database.outbox.log("acme", webhook.id, limit=500)]


def all_are(
    database: Database, webhook: Webhook, state: DeliveryState
) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        found = await states(database, webhook)
        return bool(found) and set(found) == {state.value}

    return check


async def test_calls_are_signed_as_standard_webhooks_asks(database: Database, listening: Open):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    sent = delivery(webhook)
    async with dispatching(database) as dispatcher:
        await database.outbox.add([sent])
        dispatcher.ring()
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    ((headers, body),) = end_point.got
    assert body.decode() == sent.body
    assert Verifier(SECRET).verify(body, headers) == json.loads(sent.body)
    assert headers["webhook-id"] == sent.id
    assert headers["content-type"] == "application/json"
    assert headers["host"] == f"127.0.0.1:{end_point.port}"
    (noted,) = await database.outbox.log("acme", webhook.id)
    assert noted.tries == 1
    assert noted.log[0].status == 204


def test_while_keys_rotate_both_sign():
    other = "whsec_" + "QUJD" * 8
    headers = dict(signed([SECRET, other], "id1", "{}", time.time()))
    for secret in (SECRET, other):
        Verifier(secret).verify("{}", headers)


async def test_a_dead_end_point_delays_nobody(database: Database, listening: Open):
    dead = await listening(EndPoint(silent=True))
    alive = await listening(EndPoint())
    to_dead, to_alive = await subscribe(database, dead), await subscribe(database, alive)
    async with dispatching(database) as dispatcher:
        await database.outbox.add([delivery(to_dead) for _ in range(200)])
        dispatcher.ring()

        async def busy() -> bool:
            return len(dead.got) > 0

        await until(busy)
        began = time.monotonic()
        await database.outbox.add([delivery(to_alive) for _ in range(200)])
        dispatcher.ring()
        await until(all_are(database, to_alive, DeliveryState.DELIVERED))
        assert time.monotonic() - began < 5
        assert dead.most_at_once <= 8
        dispatcher._stopping = True
        for task in list(dispatcher._serving):
            task.cancel()


async def test_concurrency_per_end_point_is_limited_across_replicas(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint(delay=0.05))
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook) for _ in range(100)])
    async with dispatching(database), dispatching(database), dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert len(end_point.got) == 100
    assert 1 < end_point.most_at_once <= 8


async def test_failures_are_tried_later_and_then_the_end_point_rests(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint(b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nno!"))
    webhook = await subscribe(database, end_point)
    async with dispatching(database) as dispatcher:
        await database.outbox.add([delivery(webhook) for _ in range(100)])
        dispatcher.ring()

        async def rests() -> bool:
            turn = await database.outbox._turns.find_one({"_id": webhook.id})
            return turn is not None and turn["hold"] > time.time() and turn["lease"] == 0

        await until(rests)
        assert len(end_point.got) < 30
        tried = [
            item for item in await database.outbox.log("acme", webhook.id, limit=500) if item.tries
        ]
        assert tried
        assert all(item.state is DeliveryState.PENDING for item in tried)
        assert all(3 < item.due - item.log[-1].time < 8 for item in tried)
        assert tried[0].log[0].answer == "no!"
        # The end point is repaired, and its owner asks for everything once more.
        end_point.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        now = time.time()
        assert await database.outbox.replay("acme", webhook.id, 0, now, now) == 100
        dispatcher.ring()
        await until(all_are(database, webhook, DeliveryState.DELIVERED))


async def test_after_three_days_of_failures_the_end_point_is_disabled(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"))
    webhook = await subscribe(database, end_point)
    old = time.time() - backoff.GIVE_UP_SECONDS - 60
    await database.outbox.add([delivery(webhook, old), delivery(webhook)])
    await database.outbox._turns.update_one(
        {"_id": webhook.id}, {"$set": {"failures": 50, "failing_since": old}}
    )
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.FAILED))
    found = await database.webhooks.get("acme", webhook.id)
    assert found is not None
    assert found.disabled
    assert "three days" in (found.reason or "")
    assert len(end_point.got) == 1


async def test_410_gone_disables_at_once(database: Database, listening: Open):
    end_point = await listening(EndPoint(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"))
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook)])
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.FAILED))
    found = await database.webhooks.get("acme", webhook.id)
    assert found is not None
    assert found.disabled


async def test_redirects_are_not_followed(database: Database, listening: Open):
    target = await listening(EndPoint())
    end_point = await listening(
        EndPoint(
            f"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:{target.port}/\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )
    )
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook)])
    async with dispatching(database):

        async def tried() -> bool:
            (item,) = await database.outbox.log("acme", webhook.id)
            return item.tries == 1

        await until(tried)
    (item,) = await database.outbox.log("acme", webhook.id)
    assert item.log[0].status == 307
    assert item.state is DeliveryState.PENDING
    assert target.got == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "[::ffff:127.0.0.1]"])
async def test_private_addresses_are_not_called(database: Database, listening: Open, host: str):
    end_point = await listening(EndPoint())
    webhook = await database.webhooks.create(
        account="acme", url=f"http://{host}:{end_point.port}/", events=(), secret=SECRET
    )
    await database.outbox.add([delivery(webhook)])
    async with dispatching(database, allowed=[]):

        async def tried() -> bool:
            (item,) = await database.outbox.log("acme", webhook.id)
            return item.tries == 1

        await until(tried)
    (item,) = await database.outbox.log("acme", webhook.id)
    assert item.log[0].status is None
    assert "not a public address" in item.log[0].error
    assert end_point.got == []


async def test_an_endless_answer_is_not_read_to_its_end(database: Database, listening: Open):
    flood = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 1_000_000
    end_point = await listening(EndPoint(flood))
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook)])
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    (item,) = await database.outbox.log("acme", webhook.id)
    assert len(item.log[0].answer) <= 500


async def test_repeating_the_challenge_verifies_the_end_point(database: Database, listening: Open):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nits open-door!"
    end_point = await listening(EndPoint(answer))
    webhook = await subscribe(database, end_point)
    await database.outbox.add_call(webhook, "verification", {"challenge": "other"})
    async with dispatching(database) as dispatcher:
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
        found = await database.webhooks.get("acme", webhook.id)
        assert found is not None
        assert found.verified is None
        await database.outbox.add_call(webhook, "verification", {"challenge": "open-door"})
        dispatcher.ring()
        await until(all_are(database, webhook, DeliveryState.DELIVERED))

        async def verified() -> bool:
            found = await database.webhooks.get("acme", webhook.id)
            return found is not None and found.verified is not None

        await until(verified)


async def test_a_turn_whose_owner_died_is_taken_by_another_when_the_lease_ends(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook)])
    now = time.time()
    assert await database.outbox.take_turn("the dead", now, 60) is not None
    assert await database.outbox.take_turn("the living", now + 1, 60) is None
    turn = await database.outbox.take_turn("the living", now + 61, 60)
    assert turn is not None
    assert turn.webhook == webhook.id


async def test_a_delivery_added_while_a_turn_ends_is_not_forgotten(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    async with dispatching(database) as dispatcher:
        for _ in range(150):
            await database.outbox.add([delivery(webhook)])
            dispatcher.ring()
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert len(end_point.got) == 150
