"""Events under the paths of the original service, in its names, columns and times."""

from typing import Any

import httpx
import pytest

from postroad_common.schemas import events
from postroad_common.schemas.events import Event, EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Submission
from postroad_testing import factories

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOMENT = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC
RANGE = {"start": "2026-09-20", "end": "2026-09-25"}


def submission_to(address: str, moment: float = MOMENT, **more: Any) -> Submission:
    """Return a submission that was taken at `moment`."""
    return factories.submission(
        address,
        account="main",
        source="rest",
        envelope="a@a.example",
        received=moment,
        features=Features(clicktracking=True),
        **more,
    )


async def record(site: Any, *happened: Event) -> None:
    """Write the events, and what they say of their messages."""
    await site.database.events.insert(happened)
    await site.database.messages.apply(happened)


async def test_events_of_a_message_have_the_originals_names_and_columns(
    api: httpx.AsyncClient, site: Any
):
    submission = submission_to("names@x.example", tags=("one", "two"))
    message = submission.recipients[0].id
    happened = [
        (EventName.DEFERRED, {"reply": "450 later"}),
        (EventName.DELIVERED, {"reply": "250 ok", "attempt": 1, "ip": "192.0.2.1"}),
        (EventName.CLICKED, {"url": "https://a.example/", "ip": "192.0.2.2"}),
        (EventName.COMPLAINED, {}),
    ]
    await record(
        site,
        events.accepted(submission, submission.recipients[0]),
        *(
            events.happened(name, message, MOMENT + 1 + n, data, account="main")
            for n, (name, data) in enumerate(happened)
        ),
    )
    found = (await api.get(f"/v1/events/messageid/{message}")).json()
    assert [one["event"] for one in found] == ["attempt", "delivery", "click", "abuse"]
    assert found[0]["data"] == {
        "id": message,
        "time": "2026-09-21 14:13:20",
        "envelope": "a@a.example",
        "recipient": "names@x.example",
        "properties": "trackclicks",
        "tags": "one;two",
        "templateid": "0",
    }
    assert found[1]["data"]["to"] == "192.0.2.1"
    assert found[2]["data"]["url"] == "https://a.example/"
    assert found[2]["message"] == message
    # Some clients read the columns beside `data`.
    assert {**found[2]["data"], **found[2]} == found[2]
    assert found[0]["time"] == "2026-09-21 14:13:20"
    assert found[0]["unixtime"] == MOMENT

    async def names(**query: str) -> list[str]:
        answer = await api.get(f"/v1/events/messageid/{message}", params=query)
        return [one["event"] for one in answer.json()]

    assert await names(tags="two;one", start="2026-09-21", end="2026-09-22") == [
        one["event"] for one in found
    ]
    assert await names(end="2026-09-21 14:13:21") == ["attempt"]
    assert await names(tags="three") == []


async def test_all_events_of_an_address_come_however_many(api: httpx.AsyncClient, site: Any):
    submissions = [submission_to("many@x.example", MOMENT + n) for n in range(130)]
    await record(site, *(events.accepted(one, one.recipients[0]) for one in submissions))
    first = submissions[0].recipients[0].id
    opened = [
        events.happened(EventName.OPENED, first, MOMENT + n, {"ip": "192.0.2.1"}, account="main")
        for n in range(1, 700)
    ]
    await record(site, *opened)
    found = (await api.get("/v1/events/email/many@x.example", params=RANGE)).json()
    assert sum(one["event"] == "attempt" for one in found) == 130
    assert sum(one["event"] == "open" for one in found) == len({one.id for one in opened})
    early = {"start": "2026-09-20", "end": "2026-09-21"}
    assert (await api.get("/v1/events/email/many@x.example", params=early)).json() == []


async def test_events_are_found_by_all_tags_and_by_template(api: httpx.AsyncClient, site: Any):
    await api.post("/v1/templates", json={"name": "originals", "text": "x"})
    template = (await api.get("/v1/templates/originals")).json()["id"]
    both = submission_to("both@x.example", tags=("red", "blue"), template=template)
    one = submission_to("one@x.example", tags=("red",))
    await record(site, *(events.accepted(item, item.recipients[0]) for item in (both, one)))

    async def addresses(path: str) -> set[str]:
        found = (await api.get(f"/v1/events/{path}", params=RANGE)).json()
        return {item["data"]["recipient"] for item in found}

    assert await addresses("tags/red") == {"both@x.example", "one@x.example"}
    assert await addresses("tags/red;blue") == {"both@x.example"}
    assert await addresses("template/originals") == {"both@x.example"}
    found = (await api.get("/v1/events/template/originals", params=RANGE)).json()
    assert found[0]["data"]["templateid"] == template
    for name in (template, "originals"):
        searched = (await api.get("/v1/messages", params={"template": name})).json()["items"]
        assert [one["recipient"] for one in searched] == ["both@x.example"]
    assert (await api.get("/v1/events/template/none")).status_code == 404


async def test_events_of_others_do_not_come(api: httpx.AsyncClient, site: Any):
    theirs = submission_to("theirs@x.example").model_copy(update={"account": "other"})
    await record(site, events.accepted(theirs, theirs.recipients[0]))
    found = await api.get("/v1/events/email/theirs@x.example", params=RANGE)
    assert found.json() == []
    path = f"/v1/events/messageid/{theirs.recipients[0].id}"
    assert (await api.get(path)).status_code == 404
