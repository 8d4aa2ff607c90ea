"""The parts of the benchmark that could measure the wrong thing."""

import asyncio
import email
import ssl
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bench import page_paths, report
from bench.load import prepared, send_all
from bench.mails import Kind, mail_maker
from bench.measure import Result
from bench.receivers import running_discard
from bench.rows import ROWS, chosen
from bench.smtp import Client, Server, SmtpError
from bench.storm import Storm
from bench.usage import Watch
from fastapi.routing import APIRoute

from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.mime import read
from postroad_common.schemas.framing import decode
from postroad_common.schemas.returns import Return
from postroad_ingress_http import api, dashboard
from postroad_sink.certificate import server_context
from postroad_sink.harness import RunningSink, running_sink
from postroad_stack.certificates import ensure_certificates


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[tuple[RunningSink, Server]]:
    """Run a sink that stands for a relay with TLS and AUTH; yield it and how to reach it."""
    files = ensure_certificates(tmp_path, ["127.0.0.1"])
    context = server_context(files.certificate, files.key, [])
    async with running_sink(tls_context=context) as running:
        await running.behave(
            {"stage": "connect", "extensions": {"AUTH": True}},
            {"stage": "mail", "authenticated": False, "reply": "530 5.7.0 Log in"},
        )
        tls = ssl.create_default_context(cafile=files.ca)
        yield running, Server("127.0.0.1", running.port, tls, "ann", "secret")


@pytest.mark.parametrize(
    ("kind", "size"), [(Kind.TEXT, 1_000), (Kind.HTML, 10_000), (Kind.ATTACHMENT, 200_000)]
)
def test_mails_have_their_size_differ_and_are_the_same_in_every_run(kind: Kind, size: int):
    mails = [mail_maker(kind)(number) for number in range(30)]
    assert [mail_maker(kind)(number) for number in range(30)] == mails
    assert len({mail.wire for mail in mails}) == 30
    for mail in mails:
        assert 0.85 * size < len(mail.wire) < 1.15 * size
        assert mail.wire.endswith(b"\r\n.\r\n")
        assert b"\r\n.\r\n" not in mail.wire[:-3]
        assert max(map(len, mail.wire.split(b"\r\n"))) <= 78
        assert email.message_from_bytes(mail.wire[:-3]).defects == []


def test_html_mail_has_links_images_and_style_to_work_on():
    message = email.message_from_bytes(mail_maker(Kind.HTML)(7).wire[:-3])
    (page,) = [part for part in message.walk() if part.get_content_type() == "text/html"]
    html = page.get_payload(decode=True).decode()
    assert html.count("<a ") >= 20
    assert html.count("<img ") >= 10
    assert "@media" in html
    assert "$" not in html


@pytest.mark.parametrize("pipelined", [True, False], ids=["pipelined", "lockstep"])
async def test_every_message_is_handed_in_once_over_all_connections(
    relay: tuple[RunningSink, Server], *, pipelined: bool
):
    running, server = relay
    make = mail_maker(Kind.HTML)
    mails = prepared(make, range(50))
    sent = await send_all(server, mails, connections=4, seconds=30, pipelined=pipelined)
    assert sent.accepted == 50
    assert len(sent.waits) == 50
    messages = await running.messages()
    assert sorted(m["recipients"][0] for m in messages) == sorted(
        make(number).recipient for number in range(50)
    )
    assert {m["protocol"] for m in messages} == {"ESMTPSA"}
    assert len({m["connection"] for m in messages}) == 4
    raw = running.sink.mailbox.get(messages[0]["number"]).raw
    assert raw.replace(b"\r\n.", b"\r\n..") + b".\r\n" in {
        make(number).wire for number in range(50)
    }


async def test_refused_message_is_counted_as_refused(relay: tuple[RunningSink, Server]):
    running, server = relay
    rule = {"stage": "message", "reply": "451 4.3.0 Later", "times": 2}
    await running.http.post("/behaviour", json=rule)
    mails = prepared(mail_maker(Kind.TEXT), range(10))
    sent = await send_all(server, mails, connections=1, seconds=30)
    assert sent.accepted == 8
    assert sent.refusals == {"451 4.3.0 Later": 2}


async def test_lost_connection_is_made_again(relay: tuple[RunningSink, Server]):
    running, server = relay
    await running.http.post("/behaviour", json={"stage": "message", "drop": "before", "times": 1})
    mails = prepared(mail_maker(Kind.TEXT), range(5))
    sent = await send_all(server, mails, connections=1, seconds=30)
    assert sent.accepted == 4
    assert sum(sent.refusals.values()) == 1


async def test_time_that_is_over_ends_the_sending(relay: tuple[RunningSink, Server]):
    _, server = relay
    endless = prepared(mail_maker(Kind.TEXT), range(1_000))
    sent = await send_all(server, endless, connections=2, seconds=0)
    assert sent.accepted == 2


async def test_refused_login_is_an_error(relay: tuple[RunningSink, Server]):
    running, server = relay
    await running.http.post("/behaviour", json={"stage": "auth", "reply": "535 5.7.8 No"})
    with pytest.raises(SmtpError, match=r"535 5\.7\.8"):
        await Client.connect(server)


def test_processor_time_of_descendants_counts_for_the_process_that_was_named():
    burn = "import time\nwhile time.process_time() < 0.6: pass"
    parent = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {burn + chr(10) + 'input()'!r}],"
        " stdin=subprocess.PIPE)\n"
        "print('up', flush=True)\n"
        "input()\n"
        "child.communicate(b'x')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        process.stdout.readline()
        watch = Watch({"burner": [process.pid]})
        while watch.read().cpu["burner"] < 0.3:
            pass
        usage = watch.read()
        assert usage.peak["burner"] > 5_000_000
        assert watch.missing() == []
        process.communicate("x")
        assert watch.missing() == ["burner"]
    finally:
        process.kill()
        process.wait()


def test_storm_is_a_hundred_mails_of_the_corpus_each_about_a_message_of_its_own():
    storm = Storm(size=100, senders=7, forward=True)
    messages = [storm.message(number) for number in range(100)]
    returns = [decode(Return, storm.frame(number)) for number in range(100)]
    assert [found.message_id for found, _ in returns] == [event.message for event in messages]
    assert len({event.message for event in messages}) == 100
    kinds = Counter(
        understand(read(bytes(body)), expected=event.facts["recipient"]).kind
        for (_, body), event in zip(returns, messages, strict=True)
    )
    assert kinds == {"bounce": 75, "delayed": 4, "complaint": 6, "response": 13, "unknown": 2}


def test_rows_are_chosen_by_pattern_in_the_usual_order():
    assert [row.name for row in chosen(["text*", "html-10k-on"])] == [
        "html-10k-on",
        "text-1k-on",
        "text-1k-off",
    ]
    assert chosen([]) == list(ROWS)
    assert chosen(["nothing"]) == []


def test_table_shows_what_was_measured_and_what_went_wrong():
    text = report.tables(
        [
            Result(
                "html-10k-on",
                delivered=10,
                accepted=10,
                cpu_ms={"sender": 1.5},
                cpu_ms_per_message=1.5,
                peak_memory={"sender": 3 * 1024 * 1024},
            ),
            Result("text-1k-on", problem="3 duplicates"),
        ]
    )
    assert "1.500" in text
    assert "text-1k-on: 3 duplicates" in text


async def test_the_ingress_that_discards_takes_mail_over_tls_with_a_login(tmp_path: Path):
    files = ensure_certificates(tmp_path, ["127.0.0.1"])
    tls = ssl.create_default_context(cafile=files.ca)
    async with running_discard(files.certificate, files.key, "secret") as (_, port):
        mails = prepared(mail_maker(Kind.HTML), range(10))
        server = Server("127.0.0.1", port, tls, "ann", "secret")
        sent = await send_all(server, mails, connections=2, seconds=30)
        assert sent.accepted == 10
        with pytest.raises(SmtpError, match=r"535 5\.7\.8"):
            await Client.connect(Server("127.0.0.1", port, tls, "ann", "wrong"))


async def test_unreachable_server_is_an_error():
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    with pytest.raises(SmtpError, match=r"127\.0\.0\.1"):
        await Client.connect(Server("127.0.0.1", port))


def test_each_way_to_read_is_in_the_bench_of_pages_or_has_a_reason_not_to_be():
    names: defaultdict[str, str] = defaultdict(lambda: "x")
    asked = [f"/dashboard{path}" for path in page_paths.DASHBOARD] + list(page_paths.REST)
    paths = {path.partition("?")[0].format_map(names) for path in asked}
    reading = {
        route.path: route.path_regex
        for router in (*api.ROUTERS, *dashboard.ROUTERS)
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in route.methods
    }
    missing = {path for path, form in reading.items() if not any(map(form.fullmatch, paths))}
    assert missing - page_paths.NOT_MEASURED.keys() == set()
    assert page_paths.NOT_MEASURED.keys() <= reading.keys()
