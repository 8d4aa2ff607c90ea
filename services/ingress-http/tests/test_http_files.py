"""Attachments by URL in requests: fetched once, when a mail is accepted, or refused by field."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
import pytest_asyncio

from postroad_common.mail.identifiers import new_id
from postroad_ingress_http.fetching.places import DOWNLOADS_OF_ACCOUNT
from postroad_ingress_http.sending import files as remote_files
from postroad_ingress_http.sending.accept import accept
from postroad_ingress_http.sending.request import read_send
from postroad_ingress_http.sending.submission import RequestOrigin
from postroad_testing.fileserver import FileServer, http_answer
from postroad_testing.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL = {"recipient": "b@b.example", "from": "a@a.example", "text": "hello"}
PDF = http_answer(b"%PDF\x00\xff", headers={"Content-Type": "application/pdf"})
PNG = http_answer(b"\x89PNG", headers={"Content-Type": "image/png"})


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[FileServer]:
    answers = {"/bill.pdf": PDF, "/logo": PNG, "/big": http_answer(b"x" * 800_000)}
    async with FileServer(answers).running() as running:
        yield running


def with_files(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**MAIL, "attachments": list(files), **more}


def files_in(body: bytes) -> dict[str, tuple[str, bytes]]:
    """Return the type and content of each file of a message, by its name."""
    message = email.message_from_bytes(body, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return {
        name: (part.get_content_type(), part.get_payload(decode=True))
        for part in message.walk()
        if (name := part.get_filename())
    }


async def test_files_by_url_are_attached(api: httpx.AsyncClient, site: Any, server: FileServer):
    mail = with_files(
        {"url": server.url("/bill.pdf")},
        {"url": server.url("/bill.pdf"), "name": "Rechnung ü", "type": "text/x-bill"},
        {"url": server.url("/logo"), "cid": "logo"},
        {"name": "own.txt", "data": "eA=="},
        html='<img src="cid:logo">',
    )
    answer = await api.post("/v1/send", json=mail)
    assert answer.status_code == 200, answer.text
    _, body = await site.last()
    assert files_in(body) == {
        "bill.pdf": ("application/pdf", b"%PDF\x00\xff"),
        "Rechnung ü": ("text/x-bill", b"%PDF\x00\xff"),
        "logo.png": ("image/png", b"\x89PNG"),
        "own.txt": ("text/plain", b"x"),
    }
    assert b"Content-ID: <logo>" in body
    assert server.got == {"/bill.pdf": 1, "/logo": 1}


async def test_form_of_the_original_names_files_by_url(
    api: httpx.AsyncClient, site: Any, server: FileServer
):
    form = {**MAIL, "attachments[0][url]": server.url("/bill.pdf"), "attachments[0][name]": "b"}
    assert (await api.post("/v1/send", data=form)).status_code == 200
    assert files_in((await site.last())[1]) == {"b": ("application/pdf", b"%PDF\x00\xff")}


REFUSED = [
    ("http://10.0.0.1/", "attachment_refused"),
    ("http://user:pw@127.0.0.1:8000/", "attachment_refused"),
    ("ftp://files.example/a", "attachment_refused"),
    ("/gone", "attachment_unreachable"),
    ("/big", "attachment_too_large"),
]


@pytest.mark.parametrize(("url", "code"), REFUSED)
async def test_file_that_does_not_come_is_422_by_its_field(
    api: httpx.AsyncClient, site: Any, server: FileServer, url: str, code: str
):
    url = server.url(url) if url.startswith("/") else url
    mail = with_files({"data": "eA=="}, {"url": server.url("/bill.pdf")}, {"url": url})
    for path in ("/v1/send", "/v1/preview"):
        answer = await api.post(path, json=mail)
        assert answer.status_code == 422, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == (code, "attachments.2.url")
        assert error["message"].endswith(".")
    assert await site.submissions() == []


async def test_files_of_a_mail_are_too_large_together(api: httpx.AsyncClient, server: FileServer):
    server.answers |= {"/one": http_answer(b"1" * 400_000), "/two": http_answer(b"2" * 400_000)}
    mail = with_files({"url": server.url("/one")}, {"url": server.url("/two")})
    answer = await api.post("/v1/send", json=mail)
    assert answer.json()["error"]["code"] == "attachment_too_large", answer.text
    answer = await api.post("/v1/send", json=with_files({"url": server.url("/one")}))
    assert answer.status_code == 200, answer.text


async def test_nothing_is_fetched_for_a_mail_that_is_refused_anyhow(
    api: httpx.AsyncClient, server: FileServer
):
    file = {"url": server.url("/bill.pdf")}
    for wrong, field in (
        ({"from": "a@a.example, b@b.example"}, "from"),
        ({"tags": ["a b"]}, "tags"),
        ({"mime": "From: a@a.example\n\nx"}, "from"),
        ({"template": "there is none"}, "template"),
    ):
        answer = await api.post("/v1/send", json=with_files(file, **wrong))
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, field), answer.text
    answer = await api.post("/v1/send", json=with_files({**file, "data": "eA=="}))
    assert answer.json()["error"]["field"] == "attachments.0.url"
    assert not server.got


async def test_repetition_of_a_request_does_not_need_the_file_again(
    api: httpx.AsyncClient, site: Any, server: FileServer
):
    mail = with_files({"url": server.url("/bill.pdf")})
    key = {"Idempotency-Key": new_id()}
    del server.answers["/bill.pdf"]
    assert (await api.post("/v1/send", json=mail, headers=key)).status_code == 422
    server.answers["/bill.pdf"] = PDF
    first = await api.post("/v1/send", json=mail, headers=key)
    assert first.status_code == 200, first.text
    del server.answers["/bill.pdf"]
    again = await api.post("/v1/send", json=mail, headers=key)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert server.got["/bill.pdf"] == 2
    await site.last()


async def test_file_that_mails_of_a_batch_share_is_fetched_once(
    api: httpx.AsyncClient, site: Any, server: FileServer
):
    mails = [with_files({"url": server.url("/logo")}, subject=str(number)) for number in range(20)]
    mails += [with_files({"url": server.url("/gone")}), MAIL]
    answer = await api.post("/v1/send/batch", json={"mails": mails})
    items = answer.json()["items"]
    assert [item["status"] for item in items] == [200] * 20 + [422, 200], items
    assert items[20]["error"]["field"] == "attachments.0.url"
    assert server.got == {"/logo": 1, "/gone": 1}
    found = await site.submissions()
    assert [len(files_in(body)) for _, body in found].count(1) == 20
    assert not site.dependencies.acceptance.files.places._held  # the memory is free again


async def test_mail_to_many_with_data_fetches_its_file_once(
    api: httpx.AsyncClient, site: Any, server: FileServer
):
    everybody = {f"r{number}@b.example": {"name": str(number)} for number in range(20)}
    mail = with_files({"url": server.url("/logo")}, text="Dear {{ name }}", recipients=everybody)
    del mail["recipient"]
    assert (await api.post("/v1/send", json=mail)).status_code == 200
    assert [list(files_in(body)) for _, body in await site.submissions()] == [["logo.png"]] * 20
    assert server.got == {"/logo": 1}


async def test_account_has_so_many_downloads_at_once(
    api: httpx.AsyncClient, site: Any, server: FileServer
):
    paths = [f"/slow{number}" for number in range(2 * DOWNLOADS_OF_ACCOUNT)]
    server.answers |= dict.fromkeys(paths, PNG)
    server.held |= set(paths)
    mail = with_files(*({"url": server.url(path)} for path in paths))
    async with site.client() as other:
        sending = asyncio.create_task(other.post("/v1/send", json=mail))
        await until(lambda: server.at_once == DOWNLOADS_OF_ACCOUNT)
        plain = await api.post("/v1/send", json=MAIL)  # mail without files does not wait
        assert plain.status_code == 200
        server.release()
        answer = await sending
    assert answer.status_code == 200, answer.text
    assert server.most_at_once == DOWNLOADS_OF_ACCOUNT
    await site.submissions()


async def test_files_of_a_mail_have_so_much_time(
    site: Any, server: FileServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remote_files, "MAIL_SECONDS", 2.0)
    server.held.add("/logo")
    async with site.client() as api:
        answer = await api.post("/v1/send", json=with_files({"url": server.url("/logo")}))
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "attachment_unreachable"


async def test_operator_can_have_no_files_fetched(site: Any, server: FileServer):
    acceptance = site.dependencies.acceptance
    none = replace(acceptance, files=replace(acceptance.files, client=None))
    origin = RequestOrigin(account="acme", credential="t", client=None)  # type: ignore[arg-type]
    mail = read_send(with_files({"url": server.url("/logo")}))
    with pytest.raises(Exception, match="No files are fetched") as caught:
        await accept(mail, origin, None, none)
    assert caught.value.field == "attachments.0.url"  # type: ignore[attr-defined]
    assert not server.got
