"""The archive over REST: every part of a mail, in both versions, and the mail sent again."""

import time
from typing import Any

import httpx
import pytest

from postroad_common.schemas import events
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Submission
from postroad_testing.factories import archived, submission

pytestmark = pytest.mark.asyncio(loop_scope="module")

RAW = (
    b"From: Shop <shop@a.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=m\r\n\r\n"
    b"--m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n"
    b"--r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
    b"--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe\r\n"
    b"--a\r\nContent-Type: text/html; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b'<script>Gr=C3=BC=C3=9Fe</script><img src=3D"cid:logo@x">\r\n--a--\r\n'
    b"--r\r\nContent-Type: image/png; name=logo.png\r\nContent-ID: <logo@x>\r\n"
    b"Content-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\naW1hZ2U=\r\n--r--\r\n"
    b"--m\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    b"Content-Disposition: attachment;\r\n filename*=UTF-8''%C3%9Cbersicht%2F1.pdf\r\n\r\n"
    b"ZmlsZQ==\r\n"
    b'--m\r\nContent-Disposition: attachment; filename="a.txt"\r\n\r\nfile two\r\n--m--\r\n'
)


async def keep(site: Any, raw: bytes = RAW, **changes: Any) -> tuple[Submission, str]:
    """Let a message be accepted and archived; what was sent is the same under another header."""
    one = submission("r@x.example", **{"account": "main", "envelope": "e@a.example", **changes})
    recipient = one.recipients[0]
    happened = [events.accepted(one, recipient)]
    await site.database.events.insert(happened)
    await site.database.messages.apply(happened)
    sent = {} if changes.get("tags") == ("unsent",) else {recipient.id: b"X-Sent: yes\r\n" + raw}
    await site.database.archive.add([archived(one, raw, sent)])
    return one, recipient.id


@pytest.mark.parametrize(
    ("part", "original", "start"),
    [
        ("text", "text", "Grüße"),
        ("html", "html", "<script>Grüße</script>"),
        ("headers", "headers", "X-Sent: yes\r\nFrom: Shop"),
        ("headers", "header", "X-Sent: yes\r\nFrom: Shop"),
    ],
)
async def test_texts_are_shown_under_both_paths(
    api: httpx.AsyncClient, site: Any, part: str, original: str, start: str
):
    _, message = await keep(site)
    for path in (f"/v1/messages/{message}/{part}", f"/v1/{original}/{message}"):
        answer = await api.get(path)
        assert answer.text.startswith(start), path
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["postroad-version"] == "sent"


async def test_both_versions_are_there_octet_for_octet(api: httpx.AsyncClient, site: Any):
    _, message = await keep(site)
    path = f"/v1/messages/{message}/source"
    sent = await api.get(path)
    assert sent.content == b"X-Sent: yes\r\n" + RAW
    assert sent.headers["content-type"] == "message/rfc822"
    assert f"{message}.eml" in sent.headers["content-disposition"]
    submitted = await api.get(path, params={"version": "submitted"})
    assert submitted.content == RAW
    assert submitted.headers["postroad-version"] == "submitted"
    refused = await api.get(path, params={"version": "best"})
    assert refused.status_code == 400
    assert refused.json()["error"]["field"] == "version"


async def test_message_that_was_not_sent_is_shown_as_submitted(api: httpx.AsyncClient, site: Any):
    _, message = await keep(site, tags=("unsent",))
    answer = await api.get(f"/v1/headers/{message}")
    assert answer.headers["postroad-version"] == "submitted"
    assert answer.content.startswith(b"From: Shop")
    answer = await api.get(f"/v1/headers/{message}", params={"version": "sent"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_kept"


async def test_files_are_listed_and_fetched_by_number_and_by_name(
    api: httpx.AsyncClient, site: Any
):
    _, message = await keep(site)
    listed = (await api.get(f"/v1/attachments/{message}")).json()
    assert [(one["number"], one["name"], one["type"], one["size"]) for one in listed] == [
        (0, "Übersicht/1.pdf", "application/pdf", 4),
        (1, "a.txt", "text/plain", 8),
    ]
    embeds = (await api.get(f"/v1/messages/{message}/embeds")).json()
    assert embeds == [
        {"number": 0, "name": "logo.png", "type": "image/png", "size": 5, "content_id": "logo@x"}
    ]
    for path, octets in (
        (f"attachments/{message}/0", b"file"),
        (f"attachments/{message}/Übersicht/1.pdf", b"file"),
        (f"attachments/{message}/a.txt", b"file two"),
        (f"messages/{message}/attachments/1", b"file two"),
        (f"embeds/{message}/logo.png", b"image"),
        (f"messages/{message}/embeds/0", b"image"),
    ):
        answer = await api.get(f"/v1/{path}")
        assert answer.content == octets, path
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    for kind, name in (("attachments", "2"), ("attachments", "no.txt"), ("embeds", "9" * 12)):
        assert (await api.get(f"/v1/{kind}/{message}/{name}")).status_code == 404


async def test_what_is_kept_is_told_in_one_answer(api: httpx.AsyncClient, site: Any):
    _, message = await keep(site)
    told = (await api.get(f"/v1/messages/{message}/content")).json()
    assert told["version"] == "sent"
    assert told["kept_until"] > time.time()
    assert (told["text"], told["html"], told["cut"]) == (True, True, False)
    assert [len(told[name]) for name in ("attachments", "embeds")] == [2, 1]


async def test_content_of_another_account_is_not_shown(api: httpx.AsyncClient, site: Any):
    _, message = await keep(site, account="other")
    for path in ("text/{}", "messages/{}/source", "attachments/{}/0", "messages/{}/content"):
        assert (await api.get("/v1/" + path.format(message))).status_code == 404
    answer = await api.post("/v1/resend", json={"message": message})
    assert answer.status_code == 404


async def test_export_of_an_address_names_the_content_that_is_kept(
    api: httpx.AsyncClient, site: Any
):
    _, message = await keep(site)
    told = (await api.get("/v1/addresses/r@x.example")).json()["messages"]
    paths = {one["id"]: one["content"] for one in told}
    assert paths[message] == f"/v1/messages/{message}/source"
    assert (await api.get(paths[message])).content.endswith(RAW)


async def test_erased_address_has_no_content_any_more(api: httpx.AsyncClient, site: Any):
    one, message = await keep(site)
    assert (await api.delete("/v1/addresses/r@x.example")).status_code == 200
    for path in (f"/v1/messages/{message}/source", f"/v1/text/{message}"):
        answer = await api.get(path)
        assert answer.json()["error"]["code"] == "not_kept"
    assert await site.database.archive.expiry("main", one.id) is None
    answer = await api.post("/v1/resend", json={"message": message})
    assert answer.status_code == 404


async def test_mail_is_sent_again_with_its_settings(api: httpx.AsyncClient, site: Any):
    await site.empty()
    one, message = await keep(
        site, features=Features(inlinecss=True, bouncetracking=True), tags=("a", "b"),
        subject="Grüße", ret="hdrs", envid="e1", list="news", metadata={"order": "7"},
    )  # fmt: skip
    answer = await api.post("/v1/resend", json={"message": message})
    ((new, address),) = answer.json().items()
    assert address == "r@x.example"
    assert new != message
    again, raw = await site.last()
    assert raw == RAW
    assert [(each.id, each.address) for each in again.recipients] == [(new, address)]
    same = (
        "account",
        "envelope",
        "features",
        "tags",
        "subject",
        "ret",
        "envid",
        "list",
        "metadata",
    )
    assert all(getattr(again, name) == getattr(one, name) for name in same)
    assert again.id != one.id
    assert again.eightbit
    assert again.source == "rest"


@pytest.mark.parametrize("message", ["", "0" * 21, "../x", 7])
async def test_what_cannot_be_sent_again_is_refused(api: httpx.AsyncClient, message: Any):
    assert (await api.post("/v1/resend", json={"message": message})).status_code in {400, 404}
