"""Mail that waits for its time: shown, moved, cancelled, and handed out exactly if it was not."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from postroad_common.broker.topology import ACCEPTED, EVENTS
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import EventBatch, EventName
from postroad_common.schemas.framing import decode
from postroad_common.schemas.submission import Submission
from postroad_common.store.messagedirectives import Action
from postroad_common.store.scheduled import ScheduledMail
from postroad_ingress_http.sending.handout import LEASE_SECONDS, HandOut
from postroad_testing.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL = {"from": "shop@shop.example", "subject": "Later", "text": "hello"}
HOUR = 3600.0


def at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + seconds))


async def schedule(api: httpx.AsyncClient, *recipients: str, **more: Any) -> dict[str, str]:
    body = {**MAIL, "recipients": list(recipients), "sendat": at(HOUR), **more}
    answer = await api.post("/v1/send", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


def hand_out(site: Any, later: float = 0.0) -> HandOut:
    def clock() -> float:
        return time.time() + later

    return HandOut(site.database.scheduled, site.context.publisher, clock)


async def everything_out(site: Any, later: float) -> list[str]:
    """Hand out all that is due `later`; return the recipients of what came onto the queue."""
    while await hand_out(site, later).hand_out_one():
        pass
    return [one.address for mail, _ in await site.submissions() for one in mail.recipients]


async def test_scheduled_mail_is_shown_and_leaves_when_its_time_has_come(
    api: httpx.AsyncClient, site: Any
):
    address = f"{new_id()}@example.com"
    (message,) = await schedule(api, address)
    shown = (await api.get(f"/v1/scheduled/{message}")).json()
    assert shown["messages"] == {message: address}
    assert (shown["state"], shown["subject"]) == ("waiting", "Later")
    listed = (await api.get("/v1/scheduled?limit=500")).json()["items"]
    assert [mail for mail in listed if message in mail["messages"]] == [shown]
    assert address not in await everything_out(site, 0.0)
    assert address in await everything_out(site, HOUR + 1)
    shown = (await api.get(f"/v1/scheduled/{shown['id']}")).json()
    assert (shown["state"], shown["messages"]) == ("left", {message: None})
    answer = await api.delete(f"/v1/scheduled/{message}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_sent")
    listed = (await api.get("/v1/scheduled?limit=500")).json()["items"]
    assert [mail for mail in listed if message in mail["messages"]] == []


async def test_list_is_in_the_order_of_leaving_and_goes_on_with_its_cursor(
    api: httpx.AsyncClient,
):
    wanted = [
        (hours, *await schedule(api, f"{new_id()}@x.example", sendat=at(hours * HOUR)))
        for hours in (5, 3, 4)
    ]
    found: list[str] = []
    query: dict[str, Any] = {"limit": 1}
    while True:
        page = (await api.get("/v1/scheduled", params=query)).json()
        found += [message for mail in page["items"] for message in mail["messages"]]
        if not page["cursor"]:
            break
        query["cursor"] = page["cursor"]
    mine = [message for _, message in sorted(wanted)]
    assert [message for message in found if message in mine] == mine
    for message in mine:
        assert (await api.delete(f"/v1/scheduled/{message}")).status_code == 204


async def test_moved_mail_leaves_at_its_new_time_and_gives_up_as_much_later(
    api: httpx.AsyncClient, site: Any
):
    address = f"{new_id()}@example.com"
    (message,) = await schedule(api, address)
    before = await site.database.scheduled.find("main", message)
    path = f"/v1/scheduled/{message}"
    assert (await api.patch(path, json={"sendat": "yesterday"})).status_code == 400
    assert (await api.patch(path, json={"sendat": at(-HOUR)})).status_code == 400
    assert (await api.patch(path, json={"sendat": at(40 * 86_400)})).status_code == 400
    answer = await api.patch(path, json={"sendat": at(3 * HOUR)})
    assert answer.status_code == 200, answer.text
    moved = answer.json()["sendat"] - before.due
    assert address not in await everything_out(site, HOUR + 1)
    while await hand_out(site, 3 * HOUR + 1).hand_out_one():
        pass
    left = {one.address: mail for mail, _ in await site.submissions() for one in mail.recipients}
    assert left[address].expires == decode(Submission, before.frame)[0].expires + moved


async def test_cancelled_mail_never_leaves_and_its_timeline_says_so(
    api: httpx.AsyncClient, site: Any
):
    address = f"{new_id()}@example.com"
    (message,) = await schedule(api, address, text="x" * 300_000)
    assert (await api.delete(f"/v1/scheduled/{message}")).status_code == 204
    answer = await api.delete(f"/v1/scheduled/{message}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_cancelled")
    assert (await api.patch(f"/v1/scheduled/{message}", json={"sendat": at(1)})).status_code == 409
    assert address not in await everything_out(site, HOUR + 1)
    told: list[Any] = []

    async def is_told() -> bool:
        for frame in await site.queues.take(EVENTS.name):
            told.extend(decode(EventBatch, frame)[0].events)
        return any(
            event.message == message and event.event is EventName.CANCELLED for event in told
        )

    await until(is_told)
    (accepted,) = [
        one for one in told if one.message == message and one.event is EventName.ACCEPTED
    ]
    assert accepted.facts["send_at"] > time.time()


async def test_one_message_of_several_is_cancelled_by_its_id_the_others_leave(
    api: httpx.AsyncClient, site: Any
):
    names = [f"{new_id()}@example.com" for _ in range(3)]
    sent = await schedule(api, *names)
    by_address = {address: message for message, address in sent.items()}
    assert (await api.delete(f"/v1/scheduled/{by_address[names[1]]}")).status_code == 204
    assert (await api.get(f"/v1/scheduled/{by_address[names[1]]}")).status_code == 404
    gone = await api.delete(f"/v1/addresses/{names[2].upper()}")
    assert gone.status_code == 200, gone.text
    gone = await api.delete(f"/v1/addresses/{names[2]}")
    assert gone.status_code == 200, gone.text
    left = await everything_out(site, HOUR + 1)
    assert names[0] in left
    assert not {names[1], names[2]} & set(left)


async def test_other_accounts_see_and_cancel_nothing(api: httpx.AsyncClient):
    (message,) = await schedule(api, f"{new_id()}@example.com")
    account = f"a{new_id()}"
    made = await api.post("/v1/accounts", json={"id": account, "name": "other"})
    assert made.status_code == 201, made.text
    theirs = {"X-Postroad-Account": account}
    assert (await api.get(f"/v1/scheduled/{message}", headers=theirs)).status_code == 404
    assert (await api.delete(f"/v1/scheduled/{message}", headers=theirs)).status_code == 404
    assert (await api.get("/v1/scheduled", headers=theirs)).json()["items"] == []
    assert (await api.delete(f"/v1/scheduled/{message}")).status_code == 204


async def test_of_cancelling_and_handing_out_exactly_one_wins(site: Any):
    store, now = site.database.scheduled, time.time()
    for _ in range(40):
        mail = ScheduledMail(
            new_id(), new_id(), now - 1e6, "waiting", [new_id()], ["a@b.example"], "", now, 0, b"f"
        )
        await store.add(mail)
        ends = await asyncio.gather(
            store.cancel(mail, now), store.take_due(now, 30.0), store.cancel(mail, now)
        )
        taken = ends[1] is not None and ends[1].id == mail.id
        assert [ends[0], taken, ends[2]].count(True) == 1
        found = await store.find(mail.account, mail.id)
        assert found.state == ("leaving" if taken else "cancelled")
        if taken:
            await store.left(mail, now)


async def test_mail_whose_hand_out_died_leaves_after_its_lease_and_cannot_be_cancelled(
    api: httpx.AsyncClient, site: Any
):
    address = f"{new_id()}@example.com"
    (message,) = await schedule(api, address, sendat=at(2))
    store = site.database.scheduled
    while (await store.find("main", message)).is_waiting:
        assert await store.take_due(time.time() + 60.0, LEASE_SECONDS) is not None
    assert (await api.delete(f"/v1/scheduled/{message}")).status_code == 409
    assert address not in await everything_out(site, 60.0)
    assert address in await everything_out(site, 61.0 + LEASE_SECONDS)
    assert await site.queues.depth(ACCEPTED.name) == 0


async def test_what_is_directed_for_a_message_holds_while_it_waits_for_its_time(
    api: httpx.AsyncClient, site: Any
):
    direct = site.dependencies.scheduling.direct
    now, never = f"{new_id()}@example.com", f"{new_id()}@example.com"
    (sooner,) = await schedule(api, now)
    (cancelled,) = await schedule(api, never)
    await direct("main", sooner, Action.RETRY, "ann@example.com")
    await direct("main", cancelled, Action.CANCEL, "ann@example.com")
    await direct("main", new_id(), Action.CANCEL, "ann@example.com")
    assert (await api.get(f"/v1/scheduled/{cancelled}")).json()["state"] == "cancelled"
    assert now in await everything_out(site, 0.0)
    assert never not in await everything_out(site, HOUR + 1)
