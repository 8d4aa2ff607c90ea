"""What a request may say of a mail beside its text: files, headers, metadata; many in one call."""

import email
import email.policy
import json
from email.message import EmailMessage
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL = {"recipient": "b@b.example", "from": "a@a.example", "text": "hello"}
PNG = "iVBORw0KGgo="


def parsed(body: bytes) -> EmailMessage:
    """Return the message as a mail program reads it."""
    message = email.message_from_bytes(body, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


async def test_image_with_a_cid_stands_beside_its_html(api: httpx.AsyncClient, site: Any):
    files = [
        {"name": "logo.png", "data": PNG, "cid": "logo"},
        {"name": "terms.pdf", "data": PNG},
    ]
    page = {**MAIL, "html": '<img src="cid:logo">', "attachments": files}
    assert (await api.post("/v1/send", json=page)).status_code == 200
    message = parsed((await site.last())[1])
    kinds = [part.get_content_type() for part in message.walk()]
    assert kinds == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    (image,) = (part for part in message.walk() if part.get_content_type() == "image/png")
    assert image["content-id"] == "<logo>"
    assert image.get_content_disposition() == "inline"


async def test_files_of_a_form_are_attachments(api: httpx.AsyncClient, site: Any):
    files = [
        ("attachments", ("umläut.txt", b"one \xff", "text/plain")),
        ("attachments[]", ("two.bin", b"\0\r\n", "application/octet-stream")),
    ]
    answer = await api.post("/v1/send", data=MAIL, files=files)
    assert answer.status_code == 200, answer.text
    message = parsed((await site.last())[1])
    found = {part.get_filename(): part.get_payload(decode=True) for part in message.walk()}
    assert found["umläut.txt"] == b"one \xff"
    assert found["two.bin"] == b"\0\r\n"


async def test_headers_of_a_thread_are_taken_and_those_of_the_envelope_refused(
    api: httpx.AsyncClient, site: Any
):
    extra = {"In-Reply-To": "<1@a.example>", "References": "<0@a.example> <1@a.example>"}
    assert (await api.post("/v1/send", json={**MAIL, "extra": extra})).status_code == 200
    message = parsed((await site.last())[1])
    assert message["references"] == "<0@a.example> <1@a.example>"
    for name in ("Bcc", "From", "DKIM-Signature", "Return-Path", "Received"):
        refused = await api.post("/v1/send", json={**MAIL, "extra": {name: "x"}})
        assert (refused.status_code, refused.json()["error"]["field"]) == (400, "extra")


async def test_bcc_gets_the_mail_and_is_named_nowhere(api: httpx.AsyncClient, site: Any):
    mail = {**MAIL, "bcc": ["c@c.example", "b@b.example"], "to": "b@b.example"}
    answer = await api.post("/v1/send", json=mail)
    assert sorted(answer.json().values()) == ["b@b.example", "c@c.example"]
    assert b"c@c.example" not in (await site.last())[1]


async def test_metadata_goes_with_the_mail(api: httpx.AsyncClient, site: Any):
    metadata = {"order": "20417", "shop-id": "ü"}
    assert (await api.post("/v1/send", json={**MAIL, "metadata": metadata})).status_code == 200
    submission, _ = await site.last()
    assert submission.metadata == metadata


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"a.b": "x"}, "metadata"),
        ({"": "x"}, "metadata"),
        ({"a": "x" * 501}, "metadata.a"),
        ({str(number): "x" for number in range(21)}, "metadata"),
        ({"a": {"b": "c"}}, "metadata.a"),
    ],
)
async def test_metadata_is_bounded(api: httpx.AsyncClient, metadata: dict[str, Any], field: str):
    answer = await api.post("/v1/send", json={**MAIL, "metadata": metadata})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


async def test_batch_answers_for_each_mail(api: httpx.AsyncClient, site: Any):
    mails = [
        {**MAIL, "recipient": "one@b.example"},
        {**MAIL, "recipient": "not an address"},
        {**MAIL, "colour": "red"},
        {**MAIL, "recipient": None, "recipients": {"four@b.example": {"n": 4}}, "text": "{$n}"},
        {**MAIL, "text": "{$n}", "data": {}},
    ]
    answer = await api.post("/v1/send/batch", json={"mails": mails})
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    assert [item["status"] for item in items] == [200, 400, 400, 200, 422]
    assert list(items[0]["messages"].values()) == ["one@b.example"]
    assert items[1]["error"]["field"] == "recipient"
    assert items[4]["error"]["line"] == 1
    sent = {one.recipients[0].address for one, _ in await site.submissions()}
    assert sent == {"one@b.example", "four@b.example"}


async def test_batch_with_a_key_is_sent_once(api: httpx.AsyncClient, site: Any):
    mails = [{**MAIL, "recipient": f"{number}@b.example"} for number in range(3)]
    headers = {"Idempotency-Key": "batch-1", "Content-Type": "application/json"}
    content = json.dumps({"mails": mails})
    first = await api.post("/v1/send/batch", content=content, headers=headers)
    second = await api.post("/v1/send/batch", content=content, headers=headers)
    assert first.json() == second.json()
    assert len(await site.submissions()) == 3


async def test_batch_may_be_as_large_as_the_largest_mail(api: httpx.AsyncClient, site: Any):
    def mails(count: int) -> dict[str, Any]:
        return {"mails": [{**MAIL, "text": "line of text\n" * 40_000}] * count}

    headers = {"Idempotency-Key": "large-batch"}
    answer = await api.post("/v1/send/batch", json=mails(5), headers=headers)
    assert [item["status"] for item in answer.json()["items"]] == [200] * 5
    assert len(await site.submissions()) == 5
    assert (await api.post("/v1/send/batch", json=mails(8))).status_code == 413


@pytest.mark.parametrize("mails", [[], [MAIL] * 501, "x", [1]])
async def test_batch_is_bounded(api: httpx.AsyncClient, mails: Any):
    answer = await api.post("/v1/send/batch", json={"mails": mails})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"].startswith("mails")
