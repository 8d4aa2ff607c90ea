"""The page of one message: its tabs, both versions, a hostile mail, and what can be done."""

import re
import time
from typing import Any

import httpx
import pytest

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Submission
from postroad_common.tokens import Keyring, LinkKind, LinkSigner
from postroad_testing.factories import archived, submission

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIGNER = LinkSigner(Keyring(("a secret of the tests",)), "https://track.example")
EVIL = "<script>alert(1)</script>"
HOSTILE = (
    f"From: {EVIL}\r\nSubject: {EVIL}\r\nX-Evil: {EVIL}\r\n"
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    f"--b\r\nContent-Type: text/plain\r\n\r\n{EVIL} text\r\n"
    "--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    f"<!DOCTYPE html><html onload=x()><head><base href=//evil.example/ target=_top>"
    f"<meta http-equiv=refresh content='0;url=//evil.example'>{EVIL}</head><body>"
    "<a href='https://shop.example/a?b=1&amp;c=2' target=_top>shop &amp; go</a>"
    '<a href="javascript:alert(1)">js</a><img src=cid:pic@x><form action=//evil.example>'
    "</form></html></body></html>\r\n"
    f'--b\r\nContent-Type: text/html; name="{EVIL}.html"\r\n'
    f"Content-Disposition: attachment\r\n\r\n{EVIL} file\r\n"
    "--b\r\nContent-Type: image/svg+xml\r\nContent-ID: <pic@x>\r\n\r\n<svg onload=x()/>\r\n"
    "--b\r\nContent-Type: image/png\r\nContent-ID: <png@x>\r\n\r\npng\r\n--b--\r\n"
).encode()  # fmt: skip


async def keep(
    site: Any, submitted: bytes, sent: bytes | None = None, **changes: Any
) -> tuple[Submission, str]:
    one = submission("r@page.example", **{"account": "main", **changes})
    recipient = one.recipients[0]
    happened = [
        events.accepted(one, recipient),
        events.transformed(
            one, recipient, one.received + 1,
            {"css": "inlined", "links": {"tracked": 3, "preventscam": 1}, "pixel": True,
             "added": ["Received"], "dkim": [f"s._domainkey.{EVIL}"], "mime": [EVIL]},
        ),
    ]  # fmt: skip
    await site.database.events.insert(happened)
    await site.database.messages.apply(happened)
    copies = {recipient.id: sent} if sent is not None else {}
    await site.database.archive.add([archived(one, submitted, copies)])
    return one, recipient.id


@pytest.mark.parametrize(
    "tab", ["timeline", "html", "text", "headers", "links", "files", "changes", "source"]
)
@pytest.mark.parametrize("version", ["sent", "submitted", ""])
async def test_nothing_of_a_hostile_mail_is_part_of_a_page(
    browser: httpx.AsyncClient, site: Any, tab: str, version: str
):
    _, message = await keep(site, HOSTILE, HOSTILE, subject=EVIL, tags=(EVIL,))
    page = await browser.get(
        f"/dashboard/messages/{message}", params={"tab": tab, "version": version}
    )
    assert page.status_code == 200
    assert EVIL not in page.text
    assert "&lt;script&gt;" in page.text
    outside = re.sub(r"<code>.*?</code>|<pre.*?</pre>", "", page.text, flags=re.DOTALL)
    assert "javascript:alert(1)" not in outside
    assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_the_frame_is_inert_and_keeps_the_network_out(browser: httpx.AsyncClient, site: Any):
    _, message = await keep(site, HOSTILE, HOSTILE)
    shown = await browser.get(f"/dashboard/messages/{message}?tab=html")
    assert 'sandbox=""' in shown.text
    frame = await browser.get(f"/dashboard/messages/{message}/preview?tab=html")
    policy = frame.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "http:" not in policy
    assert frame.text.startswith('<!DOCTYPE html><html inert><head><base target="_blank"><meta')
    assert "data:image/svg" not in frame.text
    opened = await browser.get(f"/dashboard/messages/{message}/preview?images=1")
    policy = opened.headers["content-security-policy"]
    assert "img-src data: https: http:" in policy
    assert "script-src" not in policy


async def test_images_are_those_of_the_sender_and_looking_is_not_counted(
    browser: httpx.AsyncClient, site: Any
):
    message = new_id()
    digest = bytes(range(32))
    links = SIGNER.for_message(message)
    html = (
        f'<img src="{SIGNER.image(message, 0, b"https://img.example/a?x=1&y=%22")}">'
        f'<img src="{SIGNER.open(message)}"><img src="{links.url(LinkKind.HOSTED, 1, digest)}">'
        f'<a href="{SIGNER.click(message, 2, b"https://shop.example/")}">x</a>'
        f'<img src="https://track.example/i{"A" * 36}/forged"><img src="cid:png@x">'
    )
    raw = (
        b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        + html.encode()
        + b"\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <png@x>\r\n\r\npng\r\n--b--\r\n"
    )
    _, kept = await keep(site, raw, raw)
    frame = (await browser.get(f"/dashboard/messages/{kept}/preview?images=1")).text
    assert 'src="https://img.example/a?x=1&amp;y=%22"' in frame
    assert SIGNER.open(message) not in frame
    assert links.url(LinkKind.PICTURE, 1, digest) in frame
    assert SIGNER.click(message, 2, b"https://shop.example/") in frame
    assert f'"https://track.example/i{"A" * 36}/forged"' in frame
    assert 'src="data:image/png;base64,cG5n"' in frame


async def test_links_are_shown_with_their_targets_and_the_clicks_of_people(
    browser: httpx.AsyncClient, site: Any
):
    target = b"https://shop.example/a?b=1&c=2"
    message = new_id()
    html = (
        f'<a class="b" href="{SIGNER.click(message, 0, target)}"><b>Look</b> at <i>it</i></a>'
        "<a href='mailto:x@shop.example'>write</a>"
    )
    raw = b"Content-Type: text/html\r\n\r\n" + html.encode()
    _, kept = await keep(site, raw, raw)
    clicks = [
        events.happened(
            EventName.CLICKED, kept, 1_790_000_000.0 + n,
            {"url": target.decode(), "machine": n == 2}, account="main",
        )
        for n in range(3)
    ]  # fmt: skip
    await site.database.events.insert(clicks)
    page = (await browser.get(f"/dashboard/messages/{kept}?tab=links")).text
    rows = re.findall(r"<tr>\s*<td.*?</tr>", page, re.DOTALL)
    assert len(rows) == 2
    assert "Look at it" in rows[0]
    assert "https://shop.example/a?b=1&amp;c=2" in rows[0]
    assert re.findall(r"<td[^>]*>\s*(?:<code>)?([^<]*)", rows[0])[2:] == ["yes", "2"]
    assert "mailto:x@shop.example" in rows[1]


async def test_what_was_changed_is_said_in_words(browser: httpx.AsyncClient, site: Any):
    _, message = await keep(site, b"Subject: x\r\n\r\nx", b"x")
    page = (await browser.get(f"/dashboard/messages/{message}?tab=changes")).text
    for words in (
        "3 through the tracker",
        "1 left alone: the visible text is itself an address",
        "an invisible image was added",
        "Header fields added",
    ):
        assert words in page


async def test_source_and_files_are_downloads_of_either_version(
    browser: httpx.AsyncClient, site: Any
):
    _, message = await keep(site, HOSTILE, b"X: y\r\n" + HOSTILE)
    path = f"/dashboard/messages/{message}"
    for query, octets in (("", b"X: y\r\n" + HOSTILE), ("?version=submitted", HOSTILE)):
        answer = await browser.get(f"{path}/source{query}")
        assert answer.content == octets
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["content-security-policy"].startswith("sandbox")
    file = await browser.get(f"{path}/attachments/0")
    assert file.content == f"{EVIL} file".encode()
    assert file.headers["content-type"] == "application/octet-stream"
    assert file.headers["content-disposition"].startswith("attachment;")
    assert (await browser.get(f"{path}/embeds/1")).content == b"png"
    for missing in ("attachments/7", "embeds/9", "elsewhere/0"):
        assert (await browser.get(f"{path}/{missing}")).status_code == 404


async def test_message_without_content_says_so_on_every_tab(browser: httpx.AsyncClient, site: Any):
    one = submission("r@page.example", account="main")
    happened = [events.accepted(one, one.recipients[0])]
    await site.database.events.insert(happened)
    await site.database.messages.apply(happened)
    path = f"/dashboard/messages/{one.recipients[0].id}"
    for tab in ("html", "text", "headers", "links", "files", "source"):
        page = await browser.get(path, params={"tab": tab})
        assert page.status_code == 200
        assert "This content is not kept" in page.text
    for query in ("tab=nonsense", "version=best"):
        assert (await browser.get(f"{path}?{query}")).status_code == 400
    assert (await browser.get(f"{path}/preview")).status_code == 404


async def act(browser: httpx.AsyncClient, site: Any, message: str, verb: str) -> httpx.Response:
    path = f"/dashboard/messages/{message}"
    csrf = site.csrf_of((await browser.get(path)).text)
    return await browser.post(f"{path}/{verb}", data={"csrf": csrf})


async def test_a_mail_is_sent_again_from_its_page(browser: httpx.AsyncClient, site: Any):
    await site.empty()
    _, message = await keep(site, b"Subject: again\r\n\r\nx", b"y")
    answer = await act(browser, site, message, "resend")
    assert answer.status_code == 303
    again, raw = await site.last()
    assert raw == b"Subject: again\r\n\r\nx"
    new = again.recipients[0].id
    assert answer.headers["location"] == f"/dashboard/messages/{new}"
    told = (await browser.get("/dashboard/audit", params={"target": message})).text
    assert "Message sent again" in told
    assert new in told
    refused = await browser.post(f"/dashboard/messages/{message}/resend", data={"csrf": "forged"})
    assert refused.status_code == 403
    assert await site.submissions() == []


async def test_address_is_suppressed_and_freed_and_the_mail_sent_again(
    browser: httpx.AsyncClient, site: Any
):
    await site.empty()
    _, message = await keep(site, b"Subject: lift\r\n\r\nx")
    suppressions = site.database.suppressions
    answer = await act(browser, site, message, "suppress")
    page = (await browser.get(answer.headers["location"])).text
    assert "The address is suppressed" in page
    assert "Lift and send again" in page
    assert ">Send again…<" not in page  # it would be suppressed once more
    entry = await suppressions.get("main", "r@page.example")
    assert (entry.kind, entry.message) == ("manual", message)
    await act(browser, site, message, "lift")
    assert await suppressions.get("main", "r@page.example") is None
    await act(browser, site, message, "suppress")
    answer = await act(browser, site, message, "lift-and-resend")
    assert "Sent again." in (await browser.get(f"/dashboard/messages/{message}")).text
    assert await suppressions.get("main", "r@page.example") is None
    assert (await site.last())[1] == b"Subject: lift\r\n\r\nx"


async def test_a_mail_that_waits_is_tried_now_and_cancelled_from_its_page(
    browser: httpx.AsyncClient, site: Any
):
    _, message = await keep(site, b"Subject: wait\r\n\r\nx")
    for verb, told in (("retry", "tried within seconds"), ("cancel", "cancelled before its next")):
        answer = await act(browser, site, message, verb)
        assert answer.status_code == 303
        assert (await site.database.message_directives.get(message)).action == verb
        page = (await browser.get(answer.headers["location"])).text
        assert told in page
        assert "waits for the sender" in page
        assert ("being cancelled" in page) == (verb == "cancel")
    assert "Cancel the message" not in page
    assert (await act(browser, site, message, "retry")).status_code == 409


async def test_deferred_mail_says_when_it_is_tried_next_and_until_when(
    browser: httpx.AsyncClient, site: Any
):
    _, message = await keep(site, b"Subject: later\r\n\r\nx")
    now = time.time()
    facts = {"attempt": 0, "reply": "450 4.2.2 Mailbox is full", "next": now + 600}
    told = [events.happened(EventName.DEFERRED, message, now, facts, account="main")]
    await site.database.events.insert(told)
    await site.database.messages.apply(told)
    page = (await browser.get(f"/dashboard/messages/{message}")).text
    assert "Next attempt" in page
    assert re.search(r"given up <time [^>]+>in [^<]+</time>, if none succeeds", page)


FATES: tuple[tuple[dict[EventName, dict[str, Any]], tuple[str, ...]], ...] = (
    ({}, ("On its way",)),
    (
        {EventName.SCHEDULED: {"send_at": 7_000_000_000.0}},
        ("Waits for its time", "It is sent <time", 'data-live="30"'),
    ),
    ({EventName.DELIVERED: {"host": "mx.fate.example"}}, ("mx.fate.example took it",)),
    (
        {EventName.DELIVERED: {"attempt": 0}, EventName.COMPLAINED: {"host": "fbl.example"}},
        ("complained about", "called it spam", "as fbl.example reports"),
    ),
    (
        {EventName.DEFERRED: {"reply": "450 4.7.1 Greylisted", "reason": "greylisted"}},
        ("Not delivered yet", "come back later", "usual with a first mail", "450 4.7.1"),
    ),
    (
        {EventName.DEFERRED: {"reason": "paused by hand", "requeue": "paused"}},
        ("It waits because an operator has paused its lane.",),
    ),
    (
        {EventName.FAILED: {"reply": "550 5.1.1 No such user", "code": 550, "stage": "rcpt"}},
        ("Not delivered", "does not exist", "or delete it", "550 5.1.1"),
    ),
    (
        {
            EventName.FAILED: {
                "reply": "550 5.7.26 not accepted", "code": 550, "enhanced": "5.7.26",
            }
        },
        ("neither signed by the domain", "/dashboard/domains/fate.example"),
    ),
    (
        {EventName.FAILED: {"reply": "452 4.2.2 full", "code": 452, "expired": True}},
        ("time is over", "mailbox of the recipient is full"),
    ),
    (
        {EventName.BOUNCED: {"class": "size", "diagnostic": "552 5.2.3 too long", "hard": False}},
        ("Came back after it was taken", "larger than the receiving server allows", "552 5.2.3"),
    ),
    (
        {EventName.SUPPRESSED: {"reason": "asked by phone"}},
        ("the address was suppressed", "asked by phone", "send it again"),
    ),
    (
        {EventName.SUPPRESSED: {"reason": "no-such-user: 550 gone"}},
        ("The address does not exist", "no-such-user: 550 gone"),
    ),
    ({EventName.CANCELLED: {"by": "ann@fate.example"}}, ("not sent", "By ann@fate.example")),
)  # fmt: skip


async def test_page_begins_with_what_became_of_the_mail_and_what_to_do(
    browser: httpx.AsyncClient, api: httpx.AsyncClient, site: Any
):
    for fate, texts in FATES:
        one = submission("r@fate.example", account="main", sender="shop@fate.example")
        (recipient,) = one.recipients
        told = [events.accepted(one, recipient)] + [
            events.happened(name, recipient.id, one.received + after, facts, account="main")
            for after, (name, facts) in enumerate(fate.items(), start=1)
        ]
        await site.database.events.insert(told)
        await site.database.messages.apply(told)
        page = (await browser.get(f"/dashboard/messages/{recipient.id}")).text
        head = page.partition('id="verdict"')[2]
        assert [text for text in texts if text not in head] == [], fate
        assert head.index(texts[0]) < head.index('id="facts"'), fate
        timeline = (await api.get(f"/v1/messages/{recipient.id}")).json()["timeline"]
        why = timeline[-1].get("explanation")
        is_fault = {EventName.FAILED, EventName.BOUNCED} & fate.keys() or "450 4.7.1" in texts
        assert bool(why) == bool(is_fault), fate
        if why:
            assert why["meaning"] in page
            assert why["advice"] in page
    found = (await browser.get("/dashboard/messages?recipient=r@fate.example")).text
    assert found.count(">complained</span>") == 1
    assert found.count('<bdi class="brief">') == len(FATES)  # whatever way a subject is written


async def test_message_of_another_account_has_no_page(browser: httpx.AsyncClient, site: Any):
    _, message = await keep(site, HOSTILE, HOSTILE, account="other")
    for path in ("", "/preview", "/source", "/attachments/0"):
        answer = await browser.get(f"/dashboard/messages/{message}{path}")
        assert answer.status_code == 404


async def test_long_timeline_keeps_its_newest_end(
    browser: httpx.AsyncClient, api: httpx.AsyncClient, site: Any
):
    _, message = await keep(site, b"x", b"y", received=1_790_000_000.0, line_ends_repaired=3)
    page = (await browser.get(f"/dashboard/messages/{message}")).text
    assert "3 line ends repaired" in page
    assert "Only the newest" not in page
    await site.database.events.insert(
        [
            events.happened(
                EventName.CLICKED, message, 1_790_000_100.0 + n, {"url": f"n{n}"}, account="main"
            )
            for n in range(1005)
        ]
    )
    page = (await browser.get(f"/dashboard/messages/{message}")).text
    assert "Only the newest thousand" in page
    told = (await api.get(f"/v1/messages/{message}")).json()
    assert told["timeline_cut"] is True
    assert told["timeline"][-1]["url"] == "n1004"


async def test_message_says_from_whom_and_by_which_login_it_came(
    browser: httpx.AsyncClient, site: Any
):
    login = await site.database.credentials.create(
        account="main", username=f"n{new_id()}", password_hash="-", name="The <shop>",
        features=Features(),
    )  # fmt: skip
    sent = submission(
        "named@page.example", account="main", credential=login.username, source="smtp",
        sender="shop@named.example",
    )  # fmt: skip
    told = [
        events.accepted(sent, sent.recipients[0]),
        events.happened(
            EventName.DELIVERED, sent.recipients[0].id, sent.received,
            {"attempt": 0, "provider": "big-mail"}, account="main",
        ),
    ]  # fmt: skip
    await site.database.events.insert(told)
    await site.database.messages.apply(told)
    page = (await browser.get(f"/dashboard/messages/{sent.recipients[0].id}")).text
    assert 'The &lt;shop&gt; <span class="muted">(SMTP)' in page
    assert "shop@named.example" in page
    assert "big-mail" in page
    assert "messages?recipient=named%40page.example" in page
