"""Previews: the warnings by table, and the end point with another in the transformer's place."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from postroad_common.broker.questions import Answerer
from postroad_common.broker.topology import ACCEPTED, PREVIEWS
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.preview import MailChange, PreviewAnswer
from postroad_common.schemas.submission import Client, Submission
from postroad_common.store.suppressions import Suppression
from postroad_ingress_http.history.content import MailContent
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.previews.markup import look
from postroad_ingress_http.previews.preview import OF_ONE_ACCOUNT, PreviewPlaces, preview
from postroad_ingress_http.previews.warnings import warn
from postroad_ingress_http.sending.request import read_send
from postroad_ingress_http.sending.submission import RequestOrigin

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD = {
    "From": "Shop <shop@shop.example>",
    "To": "ann@example.com",
    "Subject": "Your order",
    "Date": "Sun, 29 Nov 2026 12:00:00 +0000",
    "Message-ID": "<1@shop.example>",
    "List-Unsubscribe": "<https://shop.example/u>",
}
WORDS = "Dear Ann, your order is on its way and should be with you before the end of this week."
GOOD = f'<html><body><p>{WORDS}</p><a href="https://shop.example/o">Look</a></body></html>'
SIGNED = PreviewAnswer(signatures=("s._domainkey.shop.example",))
TRACKED = MailChange(
    kind="link_tracked", reason="", before="https://b.example/", after="https://t/1"
)


def mail(html: str, head: Mapping[str, str | None] | None = None, text: str = WORDS) -> bytes:
    fields = {name: value for name, value in {**HEAD, **(head or {})}.items() if value is not None}
    lines = [f"{name}: {value}" for name, value in fields.items()]
    parts = [("plain", text), ("html", html)] if text else [("html", html)]
    lines += ['Content-Type: multipart/alternative; boundary="b"', ""]
    for kind, content in parts:
        lines += ["--b", f"Content-Type: text/{kind}; charset=utf-8", "", content]
    return "\r\n".join([*lines, "--b--", ""]).encode()


def codes(raw: bytes, answer: PreviewAnswer = SIGNED) -> set[str]:
    return {warning.code for warning in warn(MailContent(raw), answer)}


@pytest.mark.parametrize(
    ("html", "code"),
    [
        (GOOD.replace("</a>", ""), "broken_html"),
        (GOOD.replace("</p>", "</p></div>"), "broken_html"),
        (GOOD.replace("</body>", "<p class='x</body>"), "broken_html"),
        (GOOD + "<img src='https://shop.example/i.png'>", "missing_alt"),
        (GOOD + "<img src='http://shop.example/i.png' alt=''>", "http_image"),
        ("<img src='https://shop.example/i.png' alt='our offer'>", "image_only"),
        (GOOD.replace("https:", "http:"), "http_link"),
        (GOOD.replace("https://shop.example/o", "#"), "empty_link"),
        (GOOD.replace("Look", "https://bank.example/"), "link_text"),
        (GOOD.replace("Look", "www.bank.example"), "link_text"),
        (GOOD + "<script>alert(1)</script>", "active_content"),
        (GOOD + "<p>" + "x" * 105_000, "clipped"),
    ],
)
async def test_html_that_is_worth_a_warning_has_that_and_no_other(html: str, code: str):
    assert codes(mail(html)) == {code}


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ({"Subject": ""}, "no_subject"),
        ({"Subject": "BUY THIS WHILE YOU CAN"}, "loud_subject"),
        ({"Subject": "s" * 101}, "long_subject"),
        ({"To": None}, "no_to"),
        ({"subject": "another"}, "duplicate_header"),
        ({"List-Unsubscribe": None}, "no_unsubscribe"),
    ],
)
async def test_header_that_is_worth_a_warning_has_that_and_no_other(
    head: dict[str, str | None], code: str
):
    assert codes(mail(GOOD, head)) == {code}


async def test_good_mail_has_no_warning_whatever_optional_tags_it_leaves_away():
    assert codes(mail(GOOD)) == set()
    loose = f"<p>{WORDS}<p>{WORDS}<ul><li>one<li>two</ul><table><tr><td>x</table>"
    assert codes(mail(loose)) == set()
    assert codes(mail(GOOD.replace("Look", "shop.example"))) == set()


async def test_mail_that_is_not_signed_or_has_no_text_or_no_date_is_told():
    assert codes(mail(GOOD), PreviewAnswer()) == {"not_signed"}
    assert codes(mail(GOOD, text="")) == {"no_text"}
    added = MailChange(kind="header_added", reason="", before="Date", after="now")
    answer = SIGNED.model_copy(update={"changes": (added,)})
    assert codes(mail(GOOD), answer) == {"no_date"}


async def test_link_that_shows_its_own_address_and_is_tracked_is_told():
    html = GOOD.replace("https://shop.example/o", "https://t/1").replace("Look", "b.example")
    answer = SIGNED.model_copy(update={"changes": (TRACKED,)})
    (warning,) = warn(MailContent(mail(html)), answer)
    assert warning.code == "link_text"
    assert "preventscam" in warning.message


@pytest.mark.parametrize(
    "hostile",
    ["<a '" * 60_000, '<a "' * 60_001, "<style>" * 40_000, "<a " + "x=" * 100_000,
     "</div>" * 40_000,
     "<div>" * 40_000 + "</span>" * 40_000, "<!--" * 60_000, "<a\t" + " " * 200_000],
    ids=["quotes", "odd quotes", "raw", "attributes", "ends", "deep", "comments", "blanks"],
)  # fmt: skip
async def test_hostile_markup_takes_no_more_than_its_length(hostile: str):
    assert len(look(hostile).problems) <= 10


ORIGIN = RequestOrigin("main", "previews", Client(ip="192.0.2.1"))
FIELDS = {"recipient": "ann@example.com", "from": "a@shop.example", "subject": "s", "html": GOOD}


async def test_no_transformer_there_is_told_with_504(site: Any):
    needs = replace(site.dependencies.previews, patience=0.2)
    with pytest.raises(ApiError) as caught:
        await preview(read_send(dict(FIELDS)), ORIGIN, needs)
    assert (caught.value.status, caught.value.code) == (504, "no_answer")
    assert caught.value.headers["Retry-After"]


@pytest_asyncio.fixture(loop_scope="module")
async def asked(site: Any) -> AsyncIterator[list[Submission]]:
    """Stand in the transformer's place; what it is asked is in the list, answers are the mail."""
    seen: list[Submission] = []

    async def answer(question: bytes) -> bytes:
        submission, body = decode(Submission, question)
        seen.append(submission)
        return encode(PreviewAnswer(envelope="b@bounces.example", list=submission.list), body)

    answerer = Answerer(site.context.link, PREVIEWS, answer)
    await answerer.start()
    yield seen
    await answerer.stop()


async def test_preview_has_the_mail_the_warnings_and_leaves_nothing_behind(
    api: httpx.AsyncClient, site: Any, asked: list[Submission]
):
    address = f"{new_id()}@example.com"
    await site.database.suppressions.add(
        [Suppression("main", address, "they said so", "manual", 1.0, None)]
    )
    body = {**FIELDS, "recipient": None, "recipients": {address: {"n": 1}, "no address": {}}}
    assert (await api.post("/v1/preview", json=body)).status_code == 400
    body["recipients"] = {address: {"name": "Ann"}, "bob@example.com": {"name": "Bob"}}
    body["subject"] = "For {{ name }}"
    answer = await api.post("/v1/preview", json=body)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown["recipient"] == address
    assert shown["subject"] == "For Ann"
    assert shown["html"].strip() == GOOD
    assert shown["raw_encoding"] == "utf-8"
    assert "Subject: For Ann\r\n" in shown["raw"]
    assert {"code": "suppressed", "severity": "error"}.items() <= shown["warnings"][0].items()
    assert [each.address for each in asked[-1].recipients] == [address]
    assert await site.queues.depth(ACCEPTED.name) == 0


async def test_octets_that_are_no_utf8_are_shown_in_base64_and_control_headers_are_told(
    api: httpx.AsyncClient, asked: list[Submission]
):
    mime = b"From: a@shop.example\r\nX-Postroad-Tags: a\r\nSubject: s\r\n\r\n\xe9t\xe9\r\n"
    form = {"recipient": "ann@example.com", "mime": mime.decode("latin-1")}
    answer = await api.post(
        "/v1/preview", files={"mime": mime}, data={"recipient": form["recipient"]}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["raw_encoding"] == "base64"
    (removed,) = [change for change in answer.json()["changes"] if change["kind"] != "x"]
    assert removed["before"] == "X-Postroad-Tags"
    assert asked


async def test_mail_too_large_to_be_shown_is_refused_with_413(api: httpx.AsyncClient):
    answer = await api.post("/v1/preview", json={**FIELDS, "html": "x" * 1_000_001})
    assert answer.status_code == 413


async def test_account_has_only_so_many_previews_at_once():
    places = PreviewPlaces()
    held = [places.take("a") for _ in range(OF_ONE_ACCOUNT)]
    for one in held:
        await one.__aenter__()
    with pytest.raises(ApiError) as caught:
        async with places.take("a"):
            pass
    assert caught.value.status == 429
    async with places.take("b"):
        pass
    await held[0].__aexit__(None, None, None)
    async with places.take("a"):
        pass
