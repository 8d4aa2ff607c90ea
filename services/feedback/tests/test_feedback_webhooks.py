"""Webhooks over real sockets and a real database."""

import asyncio
import contextlib
import ipaddress
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, EventName, accepted, happened
from postroad_common.store import Database
from postroad_common.store.deliveries import DeliveryState, Try, WebhookDelivery
from postroad_common.store.webhooks import Webhook
from postroad_common.web.guard import UrlGuard
from postroad_common.web.resolver import Resolver
from postroad_feedback import backoff
from postroad_feedback.batching import batch
from postroad_feedback.batchsize import BatchSize
from postroad_feedback.calls import CALL_SECONDS, Caller, CallResult, signed
from postroad_feedback.dispatch import WebhookDispatcher
from postroad_feedback.message_cache import MessageCache, MessageInfo, info_in
from postroad_feedback.payload import body_of
from postroad_feedback.replaying import Replayer
from postroad_feedback.shares import TurnShares
from postroad_feedback.subscriptions import delivery_of
from postroad_testing import factories
from postroad_testing.certificates import Authority
from postroad_testing.documents import documents
from postroad_testing.waiting import PATIENCE, until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]

TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"


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
    per_event: float = 0.0
    most_events: int = 10_000
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Answer all that it has been silent about."""
        self._released.set()

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
                    await self._released.wait()
                events = body.count(b'"id":')
                await asyncio.sleep(self.delay + self.per_event * events)
                self.at_once -= 1
                too_many = events > self.most_events
                writer.write(TOO_LARGE if too_many else self.answer)
                await writer.drain()
        writer.close()


Open = Callable[..., Awaitable[EndPoint]]


@pytest.fixture
async def listening() -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        async def listen(end_point: EndPoint, tls: ssl.SSLContext | None = None) -> EndPoint:
            server = await asyncio.start_server(end_point.serve, "127.0.0.1", 0, ssl=tls)
            end_point.port = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
            return end_point

        yield listen


@contextlib.asynccontextmanager
async def dispatching(
    database: Database,
    allowed: list[ipaddress.IPv4Network | ipaddress.IPv6Network] | None = None,
    tls: ssl.SSLContext | None = None,
    *,
    call_seconds: float = CALL_SECONDS,
    turns: int = 64,
) -> AsyncIterator[WebhookDispatcher]:
    guard = UrlGuard(LOOPBACK if allowed is None else allowed, Resolver().addresses)
    caller = Caller(guard, tls, call_seconds=call_seconds)
    dispatcher = WebhookDispatcher(database.outbox, database.webhooks, caller, turns=turns)
    task = asyncio.create_task(dispatcher.run())
    yield dispatcher
    await dispatcher.stop()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def subscribe(
    database: Database, end_point: EndPoint, path: str = "/hook", **options: Any
) -> Webhook:
    url = f"http://127.0.0.1:{end_point.port}{path}"
    values = {"account": "acme", "url": url, **options}
    return await database.webhooks.create(events=(), secret=SECRET, **values)


def delivery(webhook: Webhook, created: float | None = None) -> WebhookDelivery:
    now = time.time() if created is None else created
    return WebhookDelivery(
        id=new_id(now),
        webhook=webhook.id,
        account=webhook.account,
        event="delivered",
        message=new_id(now),
        body=json.dumps({"type": "delivered", "data": {"recipient": "j\u00f6@example.com"}}),
        created=now,
        due=now,
    )


async def log_of(database: Database, webhook: Webhook) -> list[WebhookDelivery]:
    return await database.outbox.log(webhook.account, webhook.id, limit=500)


async def states(database: Database, webhook: Webhook) -> list[str]:
    return [item.state.value for item in await log_of(database, webhook)]


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
        dispatcher.notify()
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


def test_call_about_a_test_says_so_whatever_happened():
    info = MessageInfo("acme", "r@x.test", "e@x.test", (), test=True)
    for name in (EventName.ACCEPTED, EventName.SUPPRESSED, EventName.TESTED):
        body = json.loads(body_of(happened(name, "m1", 1.0, {}), info))
        assert (body["type"], body["data"]["test"]) == (name, True)
    real = body_of(happened(EventName.ACCEPTED, "m1", 1.0, {}), replace(info, test=False))
    assert "test" not in json.loads(real)["data"]


def test_conversation_of_an_attempt_is_not_posted():
    said = {"reply": "250 ok", "conversation": "C: MAIL FROM:<secret@x.test>"}
    event = happened(EventName.DELIVERED, "m", 1.0, said, account="acme")
    body = body_of(event, MessageInfo("acme", "r@x.test", "e@x.test", ()))
    assert json.loads(body)["data"]["reply"] == "250 ok"
    assert "MAIL FROM" not in body


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
        dispatcher.notify()

        async def busy() -> bool:
            return len(dead.got) > 0

        await until(busy)
        await database.outbox.add([delivery(to_alive) for _ in range(200)])
        dispatcher.notify()
        await until(all_are(database, to_alive, DeliveryState.DELIVERED))
        assert len(dead.got) < 200  # it still hangs with the first of them
        assert dead.most_at_once <= 8
        dead.release()


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
    database: Database, mongodb_uri: str, listening: Open
):
    end_point = await listening(EndPoint(b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nno!"))
    webhook = await subscribe(database, end_point)
    async with dispatching(database) as dispatcher:
        await database.outbox.add([delivery(webhook) for _ in range(100)])
        dispatcher.notify()

        async def rests() -> bool:
            async with documents(mongodb_uri) as collections:
                turn = await collections["webhook_turns"].find_one({"_id": webhook.id})
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
        again = [replace(item, due=now) for item in await log_of(database, webhook)]
        await database.outbox.add_again(again)
        await database.outbox.turns.wake(webhook.id, now)
        dispatcher.notify()
        await until(all_are(database, webhook, DeliveryState.DELIVERED))


async def test_after_three_days_of_failures_the_end_point_is_disabled(
    database: Database, mongodb_uri: str, listening: Open
):
    end_point = await listening(EndPoint(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"))
    webhook = await subscribe(database, end_point)
    old = time.time() - backoff.GIVE_UP_SECONDS - 60
    await database.outbox.add([delivery(webhook, old), delivery(webhook)])
    async with documents(mongodb_uri) as collections:
        await collections["webhook_turns"].update_one(
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
        dispatcher.notify()
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
    assert await database.outbox.turns.take("the dead", now, 60) is not None
    assert await database.outbox.turns.take("the living", now + 1, 60) is None
    turn = await database.outbox.turns.take("the living", now + 61, 60)
    assert turn is not None
    assert turn.webhook == webhook.id


async def test_an_end_point_that_is_woken_during_a_call_does_not_rest_after_it(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook)])
    now = time.time()
    turns = database.outbox.turns
    for woken in (True, False):
        turn = await turns.take("me", now, 60)
        assert turn is not None
        if woken:
            await turns.wake(webhook.id, 0.0)
        await turns.end(turn, hold=now + 600, failures=3, failing_since=now - 99)
        assert bool(await turns.failing([webhook.id])) is not woken
    assert await turns.take("me", now, 60) is None


async def test_a_delivery_added_while_a_turn_ends_is_not_forgotten(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    async with dispatching(database) as dispatcher:
        for _ in range(150):
            await database.outbox.add([delivery(webhook)])
            dispatcher.notify()
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert len(end_point.got) == 150


async def first_try(database: Database, webhook: Webhook) -> Try:
    async def tried() -> bool:
        (item,) = await log_of(database, webhook)
        return item.tries == 1

    await until(tried)
    (item,) = await log_of(database, webhook)
    return item.log[0]


async def test_https_end_point_is_called_at_the_address_that_was_checked(
    database: Database, listening: Open, tmp_path: Path
):
    authority = Authority(tmp_path)
    end_point = await listening(EndPoint(), authority.issue("localhost").context())
    webhook = await subscribe(database, end_point, url=f"https://localhost:{end_point.port}/hook")
    sent = delivery(webhook)
    await database.outbox.add([sent])
    async with dispatching(database, tls=authority.trusting()):
        assert (await first_try(database, webhook)).status == 204
    ((headers, body),) = end_point.got
    assert Verifier(SECRET).verify(body, headers) == json.loads(sent.body)
    assert headers["host"] == f"localhost:{end_point.port}"


@pytest.mark.parametrize("fault", ["another name", "an authority nobody knows"])
async def test_https_end_point_that_cannot_prove_its_name_gets_nothing(
    database: Database, listening: Open, tmp_path: Path, fault: str
):
    authority = Authority(tmp_path)
    name = "other.example" if fault == "another name" else "localhost"
    end_point = await listening(EndPoint(), authority.issue(name).context())
    webhook = await subscribe(database, end_point, url=f"https://localhost:{end_point.port}/hook")
    await database.outbox.add([delivery(webhook)])
    tls = authority.trusting() if fault == "another name" else ssl.create_default_context()
    async with dispatching(database, tls=tls):
        outcome = await first_try(database, webhook)
    assert outcome.status is None
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.error.upper()
    assert end_point.got == []


async def test_batches_hold_many_events_and_each_keeps_its_id(database: Database, listening: Open):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point, batch_size=40, batch_seconds=0.2)
    sent = [delivery(webhook) for _ in range(100)]
    await database.outbox.add(sent)
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    bodies = [Verifier(SECRET).verify(body, headers) for headers, body in end_point.got]
    assert sorted(len(body["data"]) for body in bodies) == [20, 40, 40]
    assert {body["type"] for body in bodies} == {"batch"}
    entries = [entry for body in bodies for entry in body["data"]]
    assert {entry["id"] for entry in entries} == {item.id for item in sent}
    assert entries[0]["data"]["recipient"] == "j\u00f6@example.com"


async def test_events_wait_for_others_as_long_as_the_batching_says(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point, batch_size=100, batch_seconds=0.8)
    began = time.time()
    async with dispatching(database) as dispatcher:
        for _ in range(10):
            item = delivery(webhook)
            await database.outbox.add([replace(item, due=item.created + 0.8)])
            dispatcher.notify()
            await asyncio.sleep(0.02)  # news that come one by one
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert time.time() - began >= 0.8
    assert [len(json.loads(body)["data"]) for _, body in end_point.got] == [10]


async def test_batch_that_fails_is_tried_again_with_one_call(database: Database, listening: Open):
    end_point = await listening(EndPoint(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))
    webhook = await subscribe(database, end_point, batch_size=50)
    sent = [delivery(webhook) for _ in range(30)]
    await database.outbox.add(sent)
    async with dispatching(database):

        async def tried() -> bool:
            return all(item.tries == 1 for item in await log_of(database, webhook))

        await until(tried)
        assert len(end_point.got) == 1
        end_point.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        found = await log_of(database, webhook)
        assert {item.log[0].status for item in found} == {500}
        await database.outbox.add_again([replace(item, due=time.time()) for item in found])
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    first, second = (headers["webhook-id"] for headers, _ in end_point.got)
    assert first == second


def sizes(end_point: EndPoint) -> list[int]:
    return [len(json.loads(body)["data"]) for _, body in end_point.got]


async def learned(mongodb_uri: str, webhook: Webhook) -> int:
    """Return the size of batches that is kept for later turns."""
    async with documents(mongodb_uri) as collections:
        found = await collections.webhook_turns.find_one({"_id": webhook.id})
    assert found is not None
    return int(found["batch"])


async def test_batches_for_which_an_end_point_takes_too_long_shrink_until_it_can_take_them(
    database: Database, mongodb_uri: str, listening: Open
):
    end_point = await listening(EndPoint(per_event=0.1))
    webhook = await subscribe(database, end_point, batch_size=64)
    await database.outbox.add([delivery(webhook) for _ in range(64)])
    async with dispatching(database, call_seconds=1.0):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert sizes(end_point)[0] == 64
    assert min(sizes(end_point)) <= 8
    found = await log_of(database, webhook)
    assert all("no answer" in item.log[0].error for item in found)
    assert 1 in {item.tries for item in found}  # to be in too large a batch is no try
    assert len({json.dumps(entry) for _, body in end_point.got
                for entry in json.loads(body)["data"]}) == 64  # fmt: skip
    # Later turns know it, and batches grow when they are taken easily.
    now_learned = await learned(mongodb_uri, webhook)
    assert now_learned <= 16
    end_point.per_event = 0.0
    end_point.got.clear()
    await database.outbox.add([delivery(webhook) for _ in range(500)])
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert sizes(end_point)[0] == now_learned
    assert max(sizes(end_point)) > 2 * now_learned


async def test_batches_that_an_end_point_finds_too_large_shrink_at_once(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint(most_events=10))
    webhook = await subscribe(database, end_point, batch_size=100)
    await database.outbox.add([delivery(webhook) for _ in range(100)])
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert sizes(end_point)[:2] == [100, 50]


def answered(status: int | None = 204, seconds: float = 0.1, *, timed_out: bool = False) -> Any:
    return CallResult(status, "", "", seconds, timed_out=timed_out)


def test_size_of_batches_follows_what_the_end_point_takes():
    size = BatchSize(100, None)
    assert (size.events, size.learned) == (100, None)
    assert size.take(answered(413), 100)
    assert size.take(answered(None, timed_out=True), 50)
    assert (size.events, size.learned) == (25, 25)
    assert size.take(answered(504), 60)  # larger ones that were on their way teach nothing new
    assert size.events == 25
    assert not size.take(answered(500), 25)  # no fault of the size
    assert not size.take(answered(None), 25)
    assert not size.take(answered(seconds=14.0), 25)  # enough, but no more
    assert not size.take(answered(), 20)  # not full: says nothing of more
    assert size.events == 25
    size.take(answered(), 25)
    assert size.events == 31
    for _ in range(20):
        size.take(answered(), size.events)
    assert (size.events, size.learned) == (100, None)
    one = BatchSize(100, 1)
    assert not one.take(answered(None, timed_out=True), 1)  # a single event is not too large
    assert BatchSize(10, 64).events == 10  # its owner wishes less now


async def test_slow_end_points_of_an_account_leave_turns_for_the_others(
    database: Database, listening: Open
):
    slow = await listening(EndPoint(silent=True))
    alive = await listening(EndPoint())
    hooks = [await subscribe(database, slow, f"/{number}") for number in range(12)]
    other = await subscribe(database, alive, account="other")
    for hook in hooks:
        await database.outbox.add([delivery(hook)])
    async with dispatching(database, call_seconds=600.0, turns=8) as dispatcher:
        await until(lambda: slow.at_once >= 4)
        await database.outbox.add([delivery(other)])
        dispatcher.notify()
        await until(all_are(database, other, DeliveryState.DELIVERED))
        assert slow.most_at_once == 4  # half of the turns: not more than are free
        slow.release()
        for hook in hooks:
            await until(all_are(database, hook, DeliveryState.DELIVERED))


def test_turns_are_shared_among_accounts():
    shares = TurnShares(9)
    assert [shares.enter("a") for _ in range(6)] == [True] * 5 + [False]
    assert [shares.enter("b") for _ in range(3)] == [True, True, False]
    assert [shares.enter("c") for _ in range(2)] == [True, False]
    assert shares.enter("d")  # the last one, but one is always taken
    assert shares.is_crowded("a")
    shares.leave("a")
    assert not shares.is_crowded("a")


def test_batches_are_bounded_by_size_and_octets_and_leave_tests_alone():
    webhook = Webhook("hook", "acme", "http://x", (), disabled=False, reason=None, created=0.0)
    items = [replace(delivery(webhook), body="{" + "x" * 400_000 + "}") for _ in range(5)]
    items.append(replace(delivery(webhook), event="test"))
    calls = batch(items, 1000)
    assert sorted(len(call.deliveries) for call in calls) == [1, 1, 2, 2]
    (test,) = [call for call in calls if call.deliveries[0].event == "test"]
    assert test.body == items[-1].body
    assert [call.body for call in batch(items, 1)] == [item.body for item in items]


async def happenings(database: Database, count: int, account: str = "acme") -> list[Event]:
    """Events of messages that are known, a second apart, in the log."""
    base = time.time() - 40 * 86_400
    found = []
    for number in range(count):
        submission = factories.submission(
            account=account, received=base + number, expires=base + 1e6
        )
        found.append(accepted(submission, submission.recipients[0]))
    await database.events.insert(found)
    await database.messages.apply(found)
    return found


def replayer(database: Database, **options: Any) -> Replayer:
    cache = MessageCache(database.messages.find_many)
    return Replayer(database, cache, lambda: None, **options)


async def test_any_range_of_the_log_is_replayed_whether_it_was_posted_before_or_not(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    events = await happenings(database, 700)
    await happenings(database, 3, account="other")
    wanted = events[50:650]
    known = [delivery_of(webhook, event, facts_of(event), time.time()) for event in wanted[:50]]
    await database.outbox.add(known)
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
        end_point.got.clear()
        await database.replays.order(webhook, wanted[0].time, wanted[-1].time + 0.5)
        await replayer(database).run_once()
        await until(all_delivered(end_point, len(wanted)))
    assert {headers["webhook-id"] for headers, _ in end_point.got} == {
        delivery_of(webhook, event, facts_of(event), 0.0).id for event in wanted
    }
    (order,) = await database.replays.list("acme", webhook.id)
    assert order.finished is not None
    assert order.queued == len(wanted)


def facts_of(event: Event) -> MessageInfo:
    facts = info_in(event)
    assert facts is not None
    return facts


def all_delivered(end_point: EndPoint, number: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return len(end_point.got) >= number

    return check


async def test_replay_goes_on_where_it_was_and_does_not_fill_the_outbox(
    database: Database, listening: Open
):
    webhook = await subscribe(database, await listening(EndPoint()))
    events = await happenings(database, 800)
    await database.replays.order(webhook, events[0].time, time.time())
    await replayer(database, most_waiting=400).run_once()
    assert await database.outbox.count_waiting(webhook.id, 9999) == 500  # one page
    (order,) = await database.replays.list("acme", webhook.id)
    assert (order.queued, order.finished) == (500, None)
    # The rest, by another process, once the end point has taken what waited.
    await database.outbox.give_up(webhook.id)
    later = replayer(database)

    async def finished() -> bool:
        await later.run_once()
        (order,) = await database.replays.list("acme", webhook.id)
        return order.finished is not None

    await until(finished)
    assert await database.outbox.count_waiting(webhook.id, 9999) == 300


async def test_replay_to_a_disabled_end_point_ends(database: Database, listening: Open):
    webhook = await subscribe(database, await listening(EndPoint()))
    await database.replays.order(webhook, 0.0, time.time())
    await database.webhooks.update("acme", webhook.id, {"disabled": True})
    await replayer(database).run_once()
    (order,) = await database.replays.list("acme", webhook.id)
    assert order.finished is not None


async def test_proof_by_an_old_url_does_not_count_for_the_new_one(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"))
    webhook = await subscribe(database, end_point)
    end_point.delay = 0.3
    await database.outbox.add_call(webhook, "verification", {"challenge": "abcd"})
    async with dispatching(database):
        await until(all_delivered(end_point, 1))
        await database.webhooks.update("acme", webhook.id, {"url": "http://127.0.0.1:1/"})
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    found = await database.webhooks.find(webhook.id)
    assert found is not None
    assert found.verified is None


async def test_the_backlog_tells_what_waits_who_rests_and_what_is_late(
    mongodb_uri: str,
) -> None:
    database = Database(mongodb_uri, patience=PATIENCE)
    try:
        outbox, now = database.outbox, time.time()
        before = await outbox.backlog(now, 1000)
        tardy, resting = new_id(), new_id()
        for hook, due in ((tardy, now - 50), (tardy, now + 60), (resting, now - 99)):
            await outbox.add(
                [WebhookDelivery(new_id(), hook, "acme", "accepted", "m", "{}", now - 50, due)]
            )
        turn = await outbox.turns.take("me", now - 60, 60.0)
        assert turn is not None
        assert turn.webhook == resting
        await outbox.turns.end(turn, hold=now + 600, failures=3, failing_since=now - 99)
        found = await outbox.backlog(now, 1000)
        assert found.waiting == before.waiting + 3
        assert found.resting == before.resting + 1
        assert found.overdue_seconds >= 49.0
        assert (await outbox.backlog(now, 2)).waiting == 2
        for hook in (tardy, resting):
            await outbox.give_up(hook)
        assert (await outbox.backlog(now, 1000)).waiting == before.waiting
    finally:
        await database.close()
