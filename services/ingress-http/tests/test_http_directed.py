"""Try now and cancel over REST: what is directed for a message that waits, and what it becomes."""

import time
from typing import Any

import httpx
import pytest

from postroad_common.schemas import events
from postroad_common.schemas.events import Event, EventName
from postroad_common.store.messagedirectives import Action, MessageDirective
from postroad_ingress_http.history.directives import MessageDirection
from postroad_ingress_http.http.errors import ApiError
from postroad_testing import factories

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def record(site: Any, *found: Event) -> None:
    """Do what feedback does with events."""
    await site.database.events.insert(found)
    await site.database.messages.apply(found)


async def waiting(site: Any, account: str = "main", attempts: int = 1) -> str:
    """Return the id of a message that was deferred `attempts` times."""
    submission = factories.submission("bob@b.example", account=account)
    recipient = submission.recipients[0]
    outbound = factories.outbound(account=account, recipients=(_same(recipient),))
    deferred = [
        events.attempted(
            EventName.DEFERRED,
            outbound.model_copy(update={"attempt": attempt}),
            recipient.id,
            time.time(),
            {"reply": "451 4.3.0 later", "code": 451},
        )
        for attempt in range(attempts)
    ]
    await record(site, events.accepted(submission, recipient), *deferred)
    return recipient.id


def _same(recipient: Any) -> Any:
    return factories.outbound_recipient(recipient.address, id=recipient.id)


async def shown(api: httpx.AsyncClient, message: str) -> Any:
    return (await api.get(f"/v1/messages/{message}")).json()["directive"]


async def test_message_that_waits_is_tried_now_and_that_is_done_with_the_next_attempt(
    api: httpx.AsyncClient, site: Any
):
    message = await waiting(site, attempts=2)
    assert await shown(api, message) is None
    answer = await api.post(f"/v1/messages/{message}/retry")
    assert answer.status_code == 202
    view = answer.json()
    assert (view["action"], view["result"]) == ("retry", "pending")
    directive = await site.database.message_directives.get(message)
    assert (directive.attempts, directive.by) == (2, view["by"])
    outbound = factories.outbound(account="main", attempt=2, id=message)
    await record(
        site, events.attempted(EventName.DEFERRED, outbound, message, time.time(), {"code": 451})
    )
    assert (await shown(api, message))["result"] == "done"


async def test_cancelled_message_says_so_and_one_that_was_delivered_first_says_that(
    api: httpx.AsyncClient, site: Any
):
    gone, arrived = await waiting(site), await waiting(site)
    for message in (gone, arrived):
        first = await api.post(f"/v1/messages/{message}/cancel")
        again = await api.post(f"/v1/messages/{message}/cancel")
        assert [first.status_code, again.status_code] == [202, 202]
        assert first.json() == again.json()
        refused = await api.post(f"/v1/messages/{message}/retry")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "cancelled")
        assert (await shown(api, message))["result"] == "pending"
    outbound = factories.outbound(account="main")
    cancelled = events.cancelled(outbound, gone, time.time(), by="t1", given=time.time())
    await record(
        site,
        cancelled,
        events.attempted(EventName.DELIVERED, outbound, arrived, time.time(), {"code": 250}),
    )
    found = (await api.get(f"/v1/messages/{gone}")).json()
    assert found["state"] == "cancelled"
    assert found["directive"]["result"] == "done"
    assert found["timeline"][-1]["event"] == "cancelled"
    assert (await shown(api, arrived))["result"] == "too_late"
    for message, state in ((gone, "cancelled"), (arrived, "delivered")):
        for verb in ("retry", "cancel"):
            refused = await api.post(f"/v1/messages/{message}/{verb}")
            assert refused.status_code == 409
            assert refused.json()["error"]["code"] == "not_waiting"
            assert state in refused.json()["error"]["message"]
    found = (await api.get("/v1/messages?state=cancelled")).json()["items"]
    assert gone in [one["id"] for one in found]


async def test_message_of_another_account_cannot_be_directed(api: httpx.AsyncClient, site: Any):
    message = await waiting(site, account="other")
    for verb in ("retry", "cancel"):
        assert (await api.post(f"/v1/messages/{message}/{verb}")).status_code == 404
    assert await site.database.message_directives.get(message) is None


async def test_audit_log_tells_who_cancelled(api: httpx.AsyncClient, site: Any):
    message = await waiting(site)
    await api.post(f"/v1/messages/{message}/cancel")
    entries = (await api.get("/v1/audit", params={"target": message})).json()["items"]
    assert [entry["action"] for entry in entries] == ["message_directives.create"]
    assert entries[0]["after"]["action"] == "cancel"


async def test_directives_of_an_account_are_bounded(site: Any):
    few = MessageDirection(
        site.dependencies.history,
        site.database.message_directives,
        time.time,
        scheduled=site.dependencies.scheduling.direct,
        most=2,
    )
    messages = [await waiting(site, account="full") for _ in range(3)]
    for message in messages[:2]:
        await few.direct("full", message, Action.RETRY, "t1")
    with pytest.raises(ApiError) as refused:
        await few.direct("full", messages[2], Action.RETRY, "t1")
    assert refused.value.status == 429


async def test_sender_learns_of_what_changed_only(site: Any):
    store = site.database.message_directives
    ends = time.time() + 60
    await store.give(MessageDirective("learn-1", "main", Action.RETRY, "t1", 1.0, 1, ends))
    moments = [
        moment for one, moment in await store.changed_since(None) if one.message == "learn-1"
    ]
    known = {one.message for one, _ in await store.changed_since(moments[0])}
    assert "learn-1" in known  # what was written at the same moment may not have been seen
    await store.give(MessageDirective("learn-1", "main", Action.CANCEL, "t2", 2.0, 1, ends))
    (found, later) = next(
        pair for pair in await store.changed_since(moments[0]) if pair[0].message == "learn-1"
    )
    assert (found.action, found.by) == (Action.CANCEL, "t2")
    assert later >= moments[0]
