"""The JSON and the page."""

import asyncio
from typing import Any

import pytest

from postroad_sink.harness import RunningSink

MAIL = """\
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r
 =?utf-8?q?_aus?= der Ferne\r
From: a@x.test\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=b\r
\r
--b\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
Gr=FC=DFe\r
--b\r
Content-Type: text/html\r
\r
<!doctype html><html><head></head><body><img src="cid:logo"><img src="http://far.test/x.png">\
<script>alert(1)</script></body></html>\r
--b\r
Content-Type: image/gif\r
Content-ID: <logo>\r
Content-Transfer-Encoding: base64\r
\r
R0lGODdhAQABAIAAAAAAAAAAACwAAAAAAQABAAACAkQBADs=\r
--b\r
Content-Type: application/pdf\r
Content-Disposition: attachment; filename="bill.pdf"\r
\r
%PDF\r
--b--\r
"""


@pytest.fixture
async def filled(running: RunningSink):
    client = await running.greeted()
    await client.send("a@x.test", "b@y.test", MAIL)
    await client.send("News@x.test", "c@z.test", "Subject: second\r\n\r\nx\r\n")
    await client.send("", "b@y.test", "Subject: third\r\n\r\nx\r\n")
    return running


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [1, 2, 3]),
        ({"recipient": "b@y.test"}, [1, 3]),
        ({"recipient": "*@Z.TEST"}, [2]),
        ({"recipient": "y.test"}, []),
        ({"envelope": "news@*"}, [2]),
        ({"envelope": ""}, [3]),
        ({"subject": "AUS DER"}, [1]),
        ({"since": 1}, [2, 3]),
        ({"limit": 2}, [2, 3]),
        ({"recipient": "b@*", "limit": 1}, [3]),
    ],
)
async def test_messages_are_found_oldest_first(
    filled: RunningSink, query: dict[str, Any], numbers: list[int]
):
    assert [message["number"] for message in await filled.messages(**query)] == numbers


@pytest.mark.parametrize("query", ["limit=x", "since=-1", "wait=nan", "colour=red", "limit=inf"])
async def test_query_that_makes_no_sense_is_refused_and_the_field_named(
    filled: RunningSink, query: str
):
    answer = await filled.http.get(f"/messages?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == query.partition("=")[0]


async def test_message_is_shown_with_headers_bodies_and_parts(filled: RunningSink):
    message = (await filled.http.get("/messages/1")).json()
    assert message["subject"] == "Grüße aus der Ferne"
    assert message["headers"][1] == ["From", "a@x.test"]
    assert message["text"] == "Grüße"
    assert message["html"].startswith("<!doctype html>")
    assert message["bare_line_ends"] is False
    assert [part["content_type"] for part in message["parts"]] == [
        "text/plain",
        "text/html",
        "image/gif",
        "application/pdf",
    ]
    assert message["parts"][3]["filename"] == "bill.pdf"
    assert (await filled.http.get("/messages/1/text")).text == "Grüße"
    part = await filled.http.get("/messages/1/parts/3")
    assert part.content == b"%PDF"
    assert part.headers["content-disposition"].startswith("attachment")


async def test_html_is_given_as_it_is_and_can_do_nothing(filled: RunningSink):
    answer = await filled.http.get("/messages/1/html")
    assert "<script>alert(1)</script>" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-popups")
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy
    assert "img-src data:;" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_frame_has_own_pictures_in_it_and_links_open_elsewhere(filled: RunningSink):
    answer = await filled.http.get("/messages/1/html?frame=1&images=1")
    assert answer.text.startswith('<!doctype html><html><head><base target="_blank">')
    assert 'src="data:image/gif;base64,R0lGODdh' in answer.text
    assert "http:" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    ["/messages/9", "/messages/9/raw", "/messages/2/html", "/messages/1/parts/9", "/page/x", "/no"],
)
async def test_what_is_not_there_is_404_in_the_one_error_shape(filled: RunningSink, path: str):
    answer = await filled.http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_waiting_request_is_answered_when_enough_mail_has_come(filled: RunningSink):
    waiting = asyncio.create_task(
        filled.http.get("/messages", params={"recipient": "b@*", "wait": 30, "at_least": 3})
    )
    client = await filled.greeted()
    await client.send("a@x.test", "other@z.test")
    assert not waiting.done()
    await client.send("a@x.test", "b@w.test")
    answer = await asyncio.wait_for(waiting, 90)
    assert [message["number"] for message in answer.json()] == [1, 3, 5]


async def test_waiting_in_vain_ends_with_what_there_is(filled: RunningSink):
    found = await filled.messages(recipient="b@*", wait=0.1, at_least=3)
    assert [message["number"] for message in found] == [1, 3]


async def test_deleted_messages_are_gone_and_numbers_go_on(filled: RunningSink):
    assert (await filled.http.delete("/messages")).json() == {"deleted": 3}
    assert await filled.messages() == []
    await (await filled.greeted()).send("a@x.test", "b@y.test")
    assert [message["number"] for message in await filled.messages()] == [4]
    assert (await filled.counts())["kept"]["messages"] == 1


async def test_counts_can_begin_anew(filled: RunningSink):
    client = await filled.greeted()
    await client.send("a@x.test", "b@y.test")
    await filled.http.delete("/counts")
    counts = await filled.counts()
    assert counts["accepted"] == 0
    assert counts["first"] is None
    assert counts["connections"]["now"] == counts["connections"]["max"] == 2
    assert counts["domains"] == {
        "y.test": {"accepted": 0, "refused": 0, "connections": {"now": 2, "max": 2}},
        "z.test": {"accepted": 0, "refused": 0, "connections": {"now": 1, "max": 1}},
    }


async def test_page_and_its_files_come_with_a_strict_policy(running: RunningSink):
    page = await running.http.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "://" not in page.text.replace("http://www.w3.org/2000/svg", "")
    for name in ("page.css", "page.js"):
        assert (await running.http.get(f"/page/{name}")).status_code == 200


async def test_ready_only_while_mail_is_taken(running: RunningSink):
    assert (await running.http.get("/readyz")).status_code == 200
    await running.server.stop()
    assert (await running.http.get("/readyz")).status_code == 503
    assert (await running.http.get("/livez")).status_code == 200
