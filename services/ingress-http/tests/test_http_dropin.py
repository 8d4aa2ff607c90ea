"""Calls as programs make them that were written for the original service."""

import email
import email.policy
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


class OldClient:
    """Sends what those programs send: the token in the query, JSON or a form as the body."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client = client
        self._client.headers.pop("Authorization", None)
        self._token = token

    async def get(self, method: str, **query: str) -> httpx.Response:
        return await self._client.get(
            f"/v1/{method}", params={"access_token": self._token, **query}
        )

    async def post(self, method: str, fields: dict[str, Any]) -> httpx.Response:
        query = {"access_token": self._token}
        return await self._client.post(f"/v1/{method}", params=query, json=fields)

    async def post_form(self, method: str, fields: dict[str, str]) -> httpx.Response:
        query = {"access_token": self._token}
        return await self._client.post(f"/v1/{method}", params=query, data=fields)

    async def delete(self, method: str) -> httpx.Response:
        return await self._client.delete(f"/v1/{method}", params={"access_token": self._token})


@pytest.fixture
def old(api: httpx.AsyncClient, site: Any) -> OldClient:
    """Return a client of the original service."""
    return OldClient(api, site.token)


async def test_mail_is_sent_as_json_and_as_a_form(old: OldClient, site: Any):
    fields = {
        "envelope": "bounces@shop.example",
        "recipient": "ann@a.example",
        "from": "Shop <shop@shop.example>",
        "to": ["Ann <ann@a.example>"],
        "subject": "Hello",
        "html": "<p>Hello</p>",
        "inlinizecss": True,
        "clicktracking": True,
        "bouncetracking": True,
        "openstracking": True,
        "extra": [],
        "dsn": {"notify": "FAILURE", "ret": "HDRS"},
    }
    answer = await old.post("send", fields)
    assert list(answer.json().values()) == ["ann@a.example"]
    submission, _ = await site.last()
    assert submission.features.inlinecss
    form = {
        "recipients[0]": "ann@a.example",
        "recipients[1]": "bob@b.example",
        "from": "shop@shop.example",
        "subject": "Hello {$name}",
        "text": "Dear {$name}",
        "data[name]": "reader",
        "trackclicks": "1",
        "trackopens": "0",
        "unsubscribe": "mailto:stop@shop.example",
        "attachments[0][name]": "a.txt",
        "attachments[0][data]": "eA==",
    }
    answer = await old.post_form("send", form)
    assert sorted(answer.json().values()) == ["ann@a.example", "bob@b.example"]
    for submission, body in await site.submissions():
        message = email.message_from_bytes(body, policy=email.policy.default)
        assert message["subject"] == "Hello reader"
        assert message["list-unsubscribe"] == "<mailto:stop@shop.example>"
        assert (submission.features.clicktracking, submission.features.openstracking) == (
            True,
            False,
        )


async def test_domain_is_added_checked_shown_and_removed(old: OldClient):
    first = await old.post("domain/dropin.example", {})
    assert first.json()["type"] == "TXT"
    assert first.json()["value"].startswith("postroad-verification=")
    second = (await old.post("domain/dropin.example", {})).json()
    assert (second["name"], second["approved"]) == ("dropin.example", False)
    assert second["bounces"] == "bounces.dropin.example"
    assert second["addresses"] == ["postmaster@dropin.example"]
    assert (await old.get("domain/dropin.example")).json() == second
    records = (await old.get("dns/dropin.example/recommended")).json()
    assert {"name", "type", "value"} == set(records[0])
    assert records == (await old.get("dns/dropin.example/selfhosted")).json()
    status = (await old.get("dns/dropin.example/status")).json()
    assert set(status.values()) == {"error"}
    assert {"spf", "dkim", "dmarc", "validation"} <= set(status)
    key = (await old.get("dkimkey/dropin.example")).json()
    selector = await old.get("dkimkey/dropin.example/selector")
    assert selector.text == key["selector"]
    assert selector.headers["content-type"].startswith("text/plain")
    assert key["selector"] in {one["selector"] for one in (await old.get("dkimkeys")).json()}
    assert (
        (await old.get("dkimkeys/dropin.example"))
        .json()[0]["hostname"]
        .endswith("._domainkey.dropin.example")
    )
    assert any(part.startswith("include:") for part in (await old.get("spf/dropin.example")).json())
    assert (await old.get("dkimkey/dropin.example/private")).status_code == 404
    one = await old.get(f"dkimkeys/dropin.example/{key['selector']}")
    assert [found["selector"] for found in one.json()] == [key["selector"]]
    assert (await old.get("dkimkeys/dropin.example/none")).status_code == 404
    assert (await old.get("dmarc")).json() == []
    assert (await old.delete("domain/dropin.example")).status_code == 204
    assert (await old.get("domain/dropin.example")).status_code == 404


async def test_templates_are_listed_in_parts_and_shown(old: OldClient):
    for name in ("drop a", "drop b", "drop c"):
        answer = await old.post(
            "templates", {"name": name, "from": "a@a.example", "html": f"<p>{name} {{$x}}</p>"}
        )
        assert answer.status_code == 201, answer.text
    listed = (await old.get("templates/0/100")).json()
    names = [one["name"] for one in listed]
    start = names.index("drop a")
    part = (await old.get(f"templates/{start + 1}/2")).json()
    assert [one["name"] for one in part] == ["drop b", "drop c"]
    assert (await old.get("template/drop a")).json()["html"] == "<p>drop a {$x}</p>"
    assert (await old.get("template/drop a")).json()["from"] == "a@a.example"
    assert (await old.get("template/drop a/html")).text == "<p>drop a {$x}</p>"
    assert (await old.get("template/drop a/text")).status_code == 404
    assert (await old.get("templates/0/1001")).status_code == 400
    assert (await old.get(f"templates/{start + 1}")).json()[:2] == part
    answer = await old.post("templates", {"name": str(start + 1), "html": "<p>a number</p>"})
    assert answer.status_code == 201
    named = (await old.get(f"templates/{start + 1}")).json()
    assert named["content"]["html"] == "<p>a number</p>"
    assert (await old.get("templates/1001")).status_code == 404


async def test_recipients_are_a_list_under_either_name_or_those_of_the_header(
    old: OldClient, site: Any
):
    mail = {"from": "Paweł <shop@shop.example>", "subject": "Hello", "text": "Hello"}
    for fields in (
        {"recipient": ["ann@a.example", "bob@b.example"], "to": ["ann@a.example"]},
        {"recipient": {"0": "ann@a.example", "1": "bob@b.example"}},
        {"to": "Ann <ann@a.example>", "bcc": "bob@b.example", "replyTo": "c@c.example"},
        {"to": ["ann@a.example"], "cc": ["Bob B. <bob@b.example>"], "template": None},
    ):
        answer = await old.post("send", {**mail, **fields})
        assert sorted(answer.json().values()) == ["ann@a.example", "bob@b.example"], answer.text
    await site.submissions()
    answer = await old.post("send", {**mail, "to": ["ann@a.example", "nobody"]})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "to")


async def test_webhooks_have_both_their_names(old: OldClient):
    made = await old.post("feedbackloop", {"url": "https://hooks.example/", "events": ["bounced"]})
    assert made.status_code == 201, made.text
    listed = (await old.get("feedbackloops")).json()["items"]
    assert made.json()["id"] in {one["id"] for one in listed}


async def test_data_of_an_address_is_asked_for_and_fetched(old: OldClient):
    asked = (await old.post("datarequest", {"email": "Ann@DATA.example"})).json()["id"]
    assert (await old.get(f"datarequest/{asked}/status")).json() == {"status": "ready"}
    assert (await old.get(f"datarequest/{asked}")).json() == {
        "info": {"type": "email", "id": asked},
        "data": [],
    }
    assert (await old.get("datarequest/nothing!")).status_code == 404
    refused = await old.post("datarequest", {"email": "a@a.example", "monitor": "b@b.example"})
    assert refused.json()["error"]["field"] == "monitor"


async def test_tag_without_news_has_no_numbers(old: OldClient):
    assert (await old.get("stats/none")).status_code == 404
    assert (await old.get("tag/none")).status_code == 404
    assert (await old.get("recent-tags")).json() == []
