"""What operators see and direct: lanes and dead letters."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pymongo import AsyncMongoClient

from postroad_common.broker import DynamicQueues, topology
from postroad_common.broker.topology import parked_queue
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.framing import encode
from postroad_common.schemas.lanes import NO_DIRECTIVES, LaneState, Phase
from postroad_common.store.backlogs import BacklogRecord
from postroad_testing import factories
from postroad_testing.queues import channel
from postroad_testing.restanswers import error_of
from postroad_testing.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "2001:db8::1|(a|b).mx.example:2525#03"
PATH = f"/v1/lanes/{quote(KEY, safe='')}"
DEAD = "sender.shard.dead"


# -- lanes


async def test_lane_with_any_key_is_addressed_shown_and_directed(api: httpx.AsyncClient, site: Any):
    await site.database.lanes.save({KEY: LaneState(phase=Phase.OPEN, waiting=3, requeued=20)})
    lane = (await api.get(PATH)).json()
    assert (lane["key"], lane["source"]) == (KEY, "2001:db8::1")
    assert lane["site"] == "(a|b).mx.example:2525#03"
    assert lane["waiting"] == {"memory": 3, "backlog": 0, "parked": 20}
    assert lane["given"] is None
    before = site.dependencies.clock()
    ordered = (await api.patch(PATH, json={"drain": True, "reason": "fix"})).json()
    assert ordered["order"] == {"drain": True, "reason": "fix"}
    assert before <= ordered["given"]["at"] <= site.dependencies.clock()
    tokens = (await api.get("/v1/tokens")).json()["items"]
    assert ordered["given"]["by"] in {token["id"] for token in tokens}
    assert (await api.patch(PATH, json={"drain": False, "reason": None})).json()["order"] == {}


async def test_lanes_are_found_by_site_and_phase(api: httpx.AsyncClient, site: Any):
    await site.database.lanes.save(
        {
            "|one.filter.test": LaneState(phase=Phase.OPEN),
            "|two.filter.test": LaneState(phase=Phase.CLOSED),
            "192.0.2.1|one.filter.test": LaneState(phase=Phase.CLOSED),
        }
    )

    async def keys(**query: str) -> list[str]:
        found = (await api.get("/v1/lanes", params=query)).json()
        return [lane["key"] for lane in found["items"]]

    ones = ["192.0.2.1|one.filter.test", "|one.filter.test"]
    assert await keys(site="ONE.filter") == ones
    assert await keys(site="filter.test", phase="closed") == [ones[0], "|two.filter.test"]
    assert await keys(site="192.0.2") == []  # that is no part of a site
    assert await keys(site=".*") == []
    first = (await api.get("/v1/lanes?site=filter.test&limit=1")).json()
    query = {"site": "filter.test", "limit": "1", "cursor": first["cursor"]}
    assert await keys(**query) == ["|one.filter.test"]
    assert error_of(await api.get("/v1/lanes?phase=asleep"), 400)["field"] == "phase"


async def test_backlog_of_a_lane_is_counted(api: httpx.AsyncClient, site: Any):
    key = f"|{new_id()}.test"
    queue = parked_queue(key)
    await site.database.lanes.save({key: LaneState(phase=Phase.CLOSED, waiting=2)})
    await site.database.backlogs.put(BacklogRecord(queue.name, key, "d.test", "sender.shard.00"))
    queues = DynamicQueues(site.context.link)
    await queues.start()
    await queues.declare(queue)
    for _ in range(3):
        await site.context.publisher.publish("", queue.name, b"x")

    async def is_counted() -> bool:
        waiting = (await api.get(f"/v1/lanes/{quote(key)}")).json()["waiting"]
        return bool(waiting == {"memory": 2, "backlog": 3, "parked": 0})

    await until(is_counted)
    async with channel(site.amqp_url) as opened:
        await opened.queue_delete(queue.name)
    waiting = (await api.get(f"/v1/lanes/{quote(key)}")).json()["waiting"]
    assert waiting["backlog"] == 0


async def test_bounce_is_for_mail_before_a_moment_and_can_be_repeated(
    api: httpx.AsyncClient, site: Any
):
    await site.database.lanes.save({"|bounce.test": LaneState()})
    path = "/v1/lanes/%7Cbounce.test"
    before = site.dependencies.clock()
    order = {"bounce": {"reply": "550  5.1.10 gone\t for good".replace("\t", "")}}
    found = (await api.patch(path, json=order)).json()["order"]["bounce"]
    assert found["reply"] == "550 5.1.10 gone for good"
    assert before <= found["before"] <= site.dependencies.clock()
    again = {"bounce": {**order["bounce"], "before": found["before"]}}
    assert (await api.patch(path, json=again)).json()["order"]["bounce"] == found
    later = {"bounce": {**order["bounce"], "before": 4e9}}
    found = (await api.patch(path, json=later)).json()["order"]["bounce"]
    assert found["before"] <= site.dependencies.clock()  # never mail that is yet to come
    assert (await api.patch(path, json={"bounce": None})).json()["order"] == {}


async def test_redirect_forgets_what_was_learnt_when_given_and_when_taken_back(
    api: httpx.AsyncClient, site: Any
):
    await site.database.lanes.save({"|redirect.test": LaneState()})
    path = "/v1/lanes/%7Credirect.test"
    order = {"redirect": {"host": "Spare.Test", "port": 2525}}
    found = (await api.patch(path, json=order)).json()["order"]
    assert found["redirect"] == {"host": "spare.test", "port": 2525, "tls": "opportunistic"}
    first = found["cancel"]
    assert first.keys() == {"pause", "connections", "rate"}
    found = (await api.patch(path, json={"redirect": None})).json()["order"]
    assert "redirect" not in found
    assert all(found["cancel"][kind] >= first[kind] for kind in first)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bounce": {"reply": "450 4.2.0 later"}}, "bounce.reply"),
        ({"bounce": {"reply": "no reply"}}, "bounce.reply"),
        ({"bounce": {"reply": "550 5.1.1 a\r\nb"}}, "bounce.reply"),
        ({"bounce": {"reply": "550"}}, "bounce.reply"),
        ({"bounce": {}}, "bounce.reply"),
        ({"bounce": {"reply": "550 no", "before": -1}}, "bounce.before"),
        ({"redirect": {"host": "not a host"}}, "redirect.host"),
        ({"redirect": {"host": "x.test", "port": 0}}, "redirect.port"),
        ({"redirect": {"host": "x.test", "tls": "maybe"}}, "redirect.tls"),
        ({"redirect": {"host": "x.test", "password": "y"}}, "redirect.password"),
        ({"simulate": ["speed"]}, "simulate.0"),
        ({"drain": "later"}, "drain"),
        ({"connections": 0}, "connections"),
        ({"dance": True}, "dance"),
    ],
)
async def test_directive_that_makes_no_sense_names_the_field_and_changes_nothing(
    api: httpx.AsyncClient, site: Any, change: dict[str, Any], field: str
):
    await site.database.lanes.save({"|strict.test": LaneState()})
    error = error_of(await api.patch("/v1/lanes/%7Cstrict.test", json=change), 400)
    assert error["field"] == field
    assert (await site.database.lanes.get("|strict.test")).directives == NO_DIRECTIVES


DOCUMENTS = Path(__file__).parents[3] / "libs/common/tests/golden/lanes/documents"


def golden(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a lane's document, and its JSON in REST."""
    document = (DOCUMENTS / f"{name}.json").read_bytes()
    return json.loads(document), json.loads(
        (DOCUMENTS.parent / "rest" / f"{name}.json").read_bytes()
    )


@pytest.mark.parametrize("name", sorted(file.stem for file in DOCUMENTS.glob("*.json")))
async def test_lane_is_shown_with_the_same_octets_as_by_every_version_before(
    api: httpx.AsyncClient, site: Any, name: str
):
    document, expected = golden(name)
    key = document["_id"] = f"{document['_id']}.{new_id()}"
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(site.context.settings.mongodb_uri)
    await client.get_default_database().lanes.insert_one(document)
    await client.close()
    shown = (await api.get(f"/v1/lanes/{quote(key, safe='')}")).text
    expected["waiting"]["backlog"] = 0
    expected |= {"key": key, "site": key.partition("|")[2]}
    assert json.loads(shown) == expected
    assert sorted(shown) == sorted(json.dumps(expected, separators=(",", ":")))


# -- dead letters


def outbound(address: str = "u@replay.test") -> tuple[str, bytes]:
    message = factories.outbound(address, account="main", expires=2e9)
    return message.id, encode(message, b"secret content")


async def bury(site: Any, body: bytes, **headers: Any) -> None:
    await site.context.publisher.publish("", DEAD, body, headers=headers or None)


async def purge(site: Any) -> None:
    await site.dependencies.queues.purge(DEAD, "test")


async def depth(site: Any, *names: str) -> int:
    found = await site.dependencies.queues.all()
    return sum(queue.ready or 0 for queue in found if queue.name in names)


async def test_dead_letters_are_looked_at_without_their_content_and_stay(
    api: httpx.AsyncClient, site: Any
):
    await purge(site)
    message, body = outbound()
    reason = {"x-postroad-reason": "no body", "x-postroad-queue": "sender.shard.03"}
    await bury(site, body, **reason, **{"x-postroad-time": 1_790_000_000})
    await bury(site, b"\x00 no frame")
    for _ in range(25):  # RabbitMQ may drop what was delivered twenty times
        answer = await api.get(f"/v1/queues/{DEAD}/messages?limit=10")
        first, second = sorted(answer.json()["items"], key=lambda item: item["size"], reverse=True)
        assert "secret" not in answer.text
        assert first == {
            "queue": "sender.shard.03",
            "reason": "no body",
            "time": 1_790_000_000.0,
            "size": len(body),
            "messages": [message],
        }
        assert (second["queue"], second["messages"], second["time"]) == ("", [], None)

    async def are_there() -> bool:  # a busy broker may say 0 at first
        return await depth(site, DEAD) == 2

    await until(are_there)


async def test_dead_letters_go_back_to_where_they_came_from(api: httpx.AsyncClient, site: Any):
    await purge(site)
    shards = [queue.name for queue in topology.SHARD_QUEUES]
    had = await depth(site, *shards)
    await bury(site, outbound()[1], **{"x-postroad-queue": "sender.shard.03"})
    await bury(site, outbound()[1], **{"x-first-death-queue": "sender.shard.04"})
    await bury(site, outbound()[1], **{"x-postroad-queue": "sender.parked.gone"})
    await bury(site, b"from nowhere")
    assert (await api.post(f"/v1/queues/{DEAD}/replay", json={"limit": 1})).json() == {
        "replayed": 1,
        "left": 0,
    }
    done = (await api.post(f"/v1/queues/{DEAD}/replay")).json()
    assert done == {"replayed": 2, "left": 1}

    async def is_back() -> bool:
        return await depth(site, *shards) >= had + 3 and await depth(site, DEAD) == 1

    await until(is_back)
    assert (await api.delete(f"/v1/queues/{DEAD}/messages")).json() == {"purged": 1}
    assert (await api.get(f"/v1/queues/{DEAD}/messages")).json()["items"] == []


async def test_queues_with_work_are_left_to_the_services(api: httpx.AsyncClient):
    for method, path in (("GET", "messages"), ("DELETE", "messages"), ("POST", "replay")):
        error_of(await api.request(method, f"/v1/queues/feedback.events/{path}"), 409)
        error_of(await api.request(method, f"/v1/queues/nonsense/{path}"), 404)
    error_of(await api.post(f"/v1/queues/{DEAD}/replay", json={"limit": 0}), 400)


async def test_looking_at_dead_letters_and_lanes_gives_no_right_to_change_them(site: Any):
    made = await site.client().post(
        "/v1/tokens", json={"name": "eyes", "scopes": ["lanes:read", "queues:read"]}
    )
    async with site.client(Authorization=f"Bearer {made.json()['token']}") as eyes:
        assert (await eyes.get(f"/v1/queues/{DEAD}/messages")).status_code == 200
        for method, path in (
            ("DELETE", f"/v1/queues/{DEAD}/messages"),
            ("POST", f"/v1/queues/{DEAD}/replay"),
            ("PATCH", "/v1/lanes/%7Cstrict.test"),
        ):
            error_of(await eyes.request(method, path, json={}), 403)
