"""Stored templates and personalised mail through the API, as it lies on the queue afterwards."""

import email
import email.policy
import json
from typing import Any

import httpx
import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

WELCOME = {
    "from": "Shop <news@shop.example>",
    "subject": "Hello {$name}",
    "html": "<p>Dear {{ name }},{if $vip} our best{/if}</p>",
    "text": "Dear {$name}",
}
TWO = {"ann@a.example": {"name": "Ann & Co", "vip": True}, "bob@b.example": {"name": "Bob"}}


def texts(body: bytes) -> dict[str, str]:
    """Return subject and texts of a message, decoded."""
    message = email.message_from_bytes(body, policy=email.policy.default)
    found = {"subject": str(message["subject"]), "to": str(message["to"])}
    for part in message.walk():
        if part.get_content_maintype() == "text":
            found[part.get_content_subtype()] = part.get_content().strip()
    return found


async def by_recipient(site: Any) -> dict[str, dict[str, str]]:
    """Return the texts of what lies on the queue; each has one recipient."""
    return {
        submission.recipients[0].address: texts(body)
        for submission, body in await site.submissions()
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def prepared(site: Any) -> None:
    """Names of templates are unique by an index."""
    await site.database.prepare()


async def test_template_is_stored_changed_read_in_its_versions_and_deleted(api: httpx.AsyncClient):
    made = await api.post("/v1/templates", json={"name": "welcome", **WELCOME})
    assert made.status_code == 201, made.text
    template = made.json()
    path = f"/v1/templates/{template['id']}"
    assert made.headers["location"] == path
    assert (template["name"], template["version"]) == ("welcome", 1)
    again = await api.post("/v1/templates", json={"name": "welcome", "text": "x"})
    assert (again.status_code, again.json()["error"]["field"]) == (409, "name")
    changed = await api.put(path, json={"name": "hello", "text": "Hi {$name}"})
    assert (changed.json()["version"], changed.json()["name"]) == (2, "hello")
    latest = (await api.get("/v1/templates/hello")).json()
    assert latest["content"]["text"] == "Hi {$name}"
    assert latest["content"]["html"] is None
    first = (await api.get(f"{path}/versions/1")).json()
    assert first["content"]["subject"] == WELCOME["subject"]
    listed = (await api.get(f"{path}/versions")).json()["items"]
    assert [one["version"] for one in listed] == [2, 1]
    assert "hello" in [one["name"] for one in (await api.get("/v1/templates")).json()["items"]]
    filled = await api.post(f"{path}/fill", json={"data": {"name": "Bo"}, "version": 1})
    assert filled.status_code == 422  # it names `vip`, which is not given
    filled = await api.post(f"{path}/fill", json={"data": {"name": "Bo", "vip": 0}, "version": 1})
    assert filled.json()["subject"] == "Hello Bo"
    assert (await api.get(f"{path}/versions/9")).status_code == 404
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404


async def test_list_comes_in_pages(api: httpx.AsyncClient):
    names = [f"page {number}" for number in range(5)]
    for name in names:
        assert (await api.post("/v1/templates", json={"name": name, "text": "x"})).is_success
    found: list[str] = []
    cursor = None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/templates", params=query)).json()
        found += [item["name"] for item in page["items"]]
        if (cursor := page["cursor"]) is None:
            break
    assert [name for name in found if name in names] == names


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"subject": "nothing to read"}, 400, "html"),
        ({"mime": "From: a@a.example\n\nx", "subject": "y"}, 400, "subject"),
        ({"html": "\n  {if x}"}, 422, "html"),
        ({"text": "{{ broken"}, 422, "text"),
        ({"text": "x", "extra": {"x-y": "{$a|nosuch}"}}, 422, "extra.x-y"),
        ({"text": "x" * 2_100_000}, 413, None),
        ({"text": "x", "colour": "red"}, 400, "colour"),
        ({"text": "x", "name": "bro\x00ken"}, 400, "name"),
    ],
)
async def test_template_that_cannot_be_read_is_refused(
    api: httpx.AsyncClient, fields: dict[str, Any], status: int, field: str | None
):
    answer = await api.post("/v1/templates", json={"name": "broken", **fields})
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text
    assert (await api.get("/v1/templates/broken")).status_code == 404


async def test_each_recipient_gets_a_mail_of_its_own(api: httpx.AsyncClient, site: Any):
    recipients = {**TWO, "bob@b.example": {"name": "Bob", "vip": False}}
    answer = await api.post("/v1/send", json={**WELCOME, "recipients": recipients, "tags": ["t"]})
    assert answer.status_code == 200, answer.text
    assert sorted(answer.json().values()) == ["ann@a.example", "bob@b.example"]
    found = await site.submissions()
    assert {one.recipients[0].id for one, _ in found} == set(answer.json())
    assert len({one.id for one, _ in found}) == 2
    assert all(one.tags == ("t",) for one, _ in found)
    mails = {one.recipients[0].address: texts(body) for one, body in found}
    assert mails["ann@a.example"] == {
        "subject": "Hello Ann & Co",
        "to": "None",
        "html": "<p>Dear Ann &amp; Co, our best</p>",
        "plain": "Dear Ann & Co",
    }
    assert mails["bob@b.example"]["html"] == "<p>Dear Bob,</p>"


async def test_stored_template_is_used_with_what_the_request_adds(
    api: httpx.AsyncClient, site: Any
):
    assert (await api.post("/v1/templates", json={"name": "used", **WELCOME})).is_success
    await api.put("/v1/templates/used", json={**WELCOME, "text": "Second {$name} {$recipient}"})
    request = {
        "template": "used",
        "recipient": "ann@a.example",
        "to": "{$name} <{$recipient}>",
        "subject": "Other",
        "data": {"name": "Ann", "vip": False},
    }
    assert (await api.post("/v1/send", json=request)).status_code == 200
    mail = (await by_recipient(site))["ann@a.example"]
    assert mail["subject"] == "Other"
    assert mail["to"] == "Ann <ann@a.example>"
    assert mail["plain"] == "Second Ann ann@a.example"
    assert (await api.post("/v1/send", json={**request, "template_version": 1})).is_success
    assert (await by_recipient(site))["ann@a.example"]["plain"] == "Dear Ann"


async def test_whole_message_is_filled_for_each(api: httpx.AsyncClient, site: Any):
    mime = (
        'From: a@a.example\nTo: "{$name}" <{$recipient}>\nSubject: Hi {$name}\n'
        "Content-Type: text/html\n\n<p>{$name}</p>\n"
    )
    answer = await api.post("/v1/send", json={"mime": mime, "recipients": TWO})
    assert answer.status_code == 200, answer.text
    mails = await by_recipient(site)
    assert mails["ann@a.example"]["html"] == "<p>Ann &amp; Co</p>"
    assert mails["bob@b.example"]["subject"] == "Hi Bob"


@pytest.mark.parametrize(
    ("change", "status", "field", "place"),
    [
        ({"html": "<b>\n{$nam}</b>"}, 422, "html", (2, 3)),
        ({"subject": "{$name"}, 422, "subject", (1, 1)),
        ({"template": "no such"}, 400, "template", None),
        ({"template_version": 2}, 400, "template_version", None),
        ({"recipients": {"ann@a.example": "text"}}, 400, "recipients.*", None),
    ],
)
async def test_fault_is_named_and_nothing_is_sent(
    api: httpx.AsyncClient,
    site: Any,
    change: dict[str, Any],
    status: int,
    field: str,
    place: tuple[int, int] | None,
):
    request = {**WELCOME, "html": "<p>{$name}</p>", "recipients": TWO, **change}
    answer = await api.post("/v1/send", json=request)
    error = answer.json()["error"]
    assert answer.status_code == status, answer.text
    assert error["field"].startswith(field.removesuffix(".*")), error
    if place:
        assert (error["line"], error["column"]) == place
        assert field in error["message"]
    assert not await site.submissions()


async def test_fault_of_a_stored_template_names_it(api: httpx.AsyncClient, site: Any):
    assert (await api.post("/v1/templates", json={"name": "named", **WELCOME})).is_success
    request = {"template": "named", "recipients": {"ann@a.example": {"name": "Ann", "vip": 1}}}
    request["recipients"]["bob@b.example"] = {"name": "Bob"}  # type: ignore[index]
    answer = await api.post("/v1/send", json=request)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "template_unknown_variable")
    assert error["template"] == "named"
    assert "for bob@b.example" in error["message"]
    assert not await site.submissions()


async def test_data_cannot_add_a_header_or_a_recipient(api: httpx.AsyncClient, site: Any):
    hostile = "x\r\nBcc: c@c.example\r\n\r\nbody, <evil@evil.example>"
    request = {
        "from": "Shop <a@a.example>",
        "to": "{$name} <{$recipient}>",
        "subject": "Hi {$name}",
        "extra": {"x-name": "{$name}"},
        "text": "{$name}",
        "recipient": "ann@a.example",
        "data": {"name": hostile},
    }
    assert (await api.post("/v1/send", json=request)).status_code == 200
    submission, body = await site.last()
    message = email.message_from_bytes(body, policy=email.policy.default)
    assert message["bcc"] is None
    assert [one.addr_spec for one in message["to"].addresses] == ["ann@a.example"]
    assert [one.address for one in submission.recipients] == ["ann@a.example"]


async def test_mail_without_data_is_sent_as_it_is(api: httpx.AsyncClient, site: Any):
    request = {"from": "a@a.example", "recipient": "b@b.example", "text": "php: {$name}"}
    assert (await api.post("/v1/send", json=request)).status_code == 200
    assert (await by_recipient(site))["b@b.example"]["plain"] == "php: {$name}"
    refused = await api.post("/v1/send", json={**request, "data": {}})
    assert refused.status_code == 422


async def test_same_key_sends_each_mail_once(api: httpx.AsyncClient, site: Any):
    recipients = {**TWO, "bob@b.example": {"name": "Bob", "vip": False}}
    request = json.dumps({**WELCOME, "recipients": recipients})
    headers = {"Idempotency-Key": "personal", "Content-Type": "application/json"}
    first = await api.post("/v1/send", content=request, headers=headers)
    second = await api.post("/v1/send", content=request, headers=headers)
    assert first.status_code == 200
    assert first.json() == second.json()
    assert len(await site.submissions()) == 2


async def test_templates_of_another_account_do_not_exist(api: httpx.AsyncClient, site: Any):
    other = await site.database.templates.create("another account", "theirs", {"text": "x"})
    assert (await api.get(f"/v1/templates/{other.id}")).status_code == 404
    assert (await api.get("/v1/templates/theirs")).status_code == 404
    request = {"from": "a@a.example", "recipient": "b@b.example", "template": "theirs"}
    assert (await api.post("/v1/send", json=request)).status_code == 400
