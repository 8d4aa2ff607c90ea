"""Calls of webhooks over real sockets: what is sent, to whom, and what is believed."""

import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from postroad_common.schemas.events import EventName, happened
from postroad_common.store import Database
from postroad_common.store.deliveries import DeliveryState, Try
from postroad_common.store.webhooks import Webhook
from postroad_feedback.calls import signed
from postroad_feedback.message_cache import MessageInfo
from postroad_feedback.payload import body_of
from postroad_testing.certificates import Authority
from postroad_testing.endpoint import EndPoint, Open
from postroad_testing.waiting import until
from postroad_testing.webhooks import SECRET, all_are, delivery, log_of, subscribe


async def test_calls_are_signed_as_standard_webhooks_asks(
    database: Database, listening: Open, dispatching: Any
):
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


async def test_redirects_are_not_followed(database: Database, listening: Open, dispatching: Any):
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
async def test_private_addresses_are_not_called(
    database: Database, listening: Open, host: str, dispatching: Any
):
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


async def test_an_endless_answer_is_not_read_to_its_end(
    database: Database, listening: Open, dispatching: Any
):
    flood = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 1_000_000
    end_point = await listening(EndPoint(flood))
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook)])
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    (item,) = await database.outbox.log("acme", webhook.id)
    assert len(item.log[0].answer) <= 500


async def test_repeating_the_challenge_verifies_the_end_point(
    database: Database, listening: Open, dispatching: Any
):
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


async def first_try(database: Database, webhook: Webhook) -> Try:
    async def tried() -> bool:
        (item,) = await log_of(database, webhook)
        return item.tries == 1

    await until(tried)
    (item,) = await log_of(database, webhook)
    return item.log[0]


async def test_https_end_point_is_called_at_the_address_that_was_checked(
    database: Database, listening: Open, tmp_path: Path, dispatching: Any
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
    database: Database, listening: Open, tmp_path: Path, fault: str, dispatching: Any
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


def all_delivered(end_point: EndPoint, number: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return len(end_point.got) >= number

    return check


async def test_proof_by_an_old_url_does_not_count_for_the_new_one(
    database: Database, listening: Open, dispatching: Any
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
