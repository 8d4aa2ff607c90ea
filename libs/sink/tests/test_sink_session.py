"""The SMTP dialogue without any rule: what is taken, what is refused, what is noted."""

import asyncio
import base64
import itertools
import ssl

import aiosmtplib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad_sink.harness import RunningSink, running_sink, until
from postroad_sink.server import Sink, SinkLimits
from postroad_sink.session import SinkSession


async def test_whole_pipelined_transaction_is_answered_in_order_and_kept(running: RunningSink):
    client = await running.greeted()
    replies = await client.say("MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA")
    assert [reply[:3] for reply in replies] == ["250", "250", "354"]
    # The end of one message and the next transaction in one go.
    client.writer.write(
        b"Subject: one\r\n\r\n..x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@y.test>\r\nDATA\r\n"
    )
    assert await client.reply() == "250 2.0.0 Ok, kept as 1"
    assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
    assert await client.ask(".") == "250 2.0.0 Ok, kept as 2"
    first, second = await running.messages()
    assert (first["subject"], first["transaction"]) == ("one", 1)
    assert (second["envelope"], second["size"], second["transaction"]) == ("", 0, 2)
    raw = await running.http.get("/messages/1/raw")
    assert raw.content == b"Subject: one\r\n\r\n.x\r\n"


async def test_parameters_are_noted_as_they_came_for_each_recipient(running: RunningSink):
    client = await running.greeted()
    replies = await client.say(
        "MAIL FROM:<a@x.test> SIZE=20 BODY=8BITMIME RET=HDRS ENVID=QQ+2B1",
        "RCPT TO:<b@y.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+3D@y.test",
        "rcpt to: <c@y.test>",
        "DATA",
    )
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "354"]
    await client.ask("x\r\n.")
    (message,) = await running.messages()
    assert message["mail_parameters"] == {
        "SIZE": "20",
        "BODY": "8BITMIME",
        "RET": "HDRS",
        "ENVID": "QQ+2B1",
    }
    assert message["recipients"] == ["b@y.test", "c@y.test"]
    assert message["recipient_parameters"] == [
        {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;B+3D@y.test"},
        {},
    ]
    assert message["helo"] == "client.test"
    assert message["client"] == "127.0.0.1"
    assert message["protocol"] == "ESMTP"
    assert message["tls"] is None


async def test_tls_facts_and_login_are_noted(running: RunningSink):
    await running.behave({"stage": "connect", "extensions": {"AUTH": True}})
    client = await running.greeted()
    await client.secure()
    assert await client.code("MAIL FROM:<a@x.test>") == 503  # EHLO is forgotten
    assert "STARTTLS" not in await client.ask("EHLO client.test")
    plain = base64.b64encode(b"\0ann\0secret").decode()
    assert await client.code(f"AUTH plain {plain}") == 235
    await client.send("a@x.test", "b@y.test")
    (message,) = await running.messages()
    assert message["tls"]["version"] == "TLSv1.3"
    assert message["tls"]["name"] == "mx.sink.test"
    assert message["login"] == "ann"
    assert message["protocol"] == "ESMTPSA"


async def test_auth_login_asks_for_name_and_password(running: RunningSink):
    await running.behave({"stage": "connect", "extensions": {"AUTH": True}})
    client = await running.greeted()
    assert await client.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
    assert await client.ask("YW5u") == "334 UGFzc3dvcmQ6"
    assert await client.code("c2VjcmV0") == 235
    assert await client.code("AUTH LOGIN") == 503


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["AUTH PLAIN", "*"], 501),
        (["AUTH PLAIN", "%%%"], 501),
        (["AUTH PLAIN AGE="], 501),
        (["AUTH CRAM-MD5"], 504),
    ],
)
async def test_broken_auth_is_refused(running: RunningSink, lines: list[str], code: int):
    await running.behave({"stage": "connect", "extensions": {"AUTH": True}})
    client = await running.greeted()
    assert int([await client.ask(line) for line in lines][-1][:3]) == code
    assert await client.code("NOOP") == 250


async def test_commands_in_the_clear_behind_starttls_are_thrown_away(running: RunningSink):
    client = await running.greeted()
    client.writer.write(b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n")
    assert (await client.reply()).startswith("220 ")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    await client.writer.start_tls(context, server_hostname="mx.sink.test")
    replies = await client.say("EHLO client.test", "RCPT TO:<b@y.test>")
    assert replies[0].startswith("250")
    assert replies[1].startswith("503 5.5.1 MAIL first")


async def test_failed_handshake_is_counted_and_the_sink_goes_on(running: RunningSink):
    client = await running.greeted()
    assert await client.code("STARTTLS") == 220
    client.writer.write(b"this is no handshake\r\n")
    await asyncio.wait_for(client.reader.read(), 90)
    await until(lambda: running.sink.counts.tls_failed == 1)
    assert (await (await running.greeted()).send("a@x.test", "b@y.test")).startswith("250 ")


async def test_sink_without_certificate_offers_no_tls():
    async with running_sink() as running:
        client = await running.connect()
        await client.reply()
        assert "STARTTLS" not in await client.ask("EHLO client.test")


async def test_chunks_are_joined_and_dots_in_them_are_plain(running: RunningSink):
    client = await running.greeted()
    await client.say("MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>")
    client.writer.write(b"BDAT 9\r\n..a\r\n.\r\nxBDAT 3\r\ny\r\nBDAT 0 LAST\r\n")
    assert [(await client.reply())[:3] for _ in range(3)] == ["250"] * 3
    assert (await running.http.get("/messages/1/raw")).content == b"..a\r\n.\r\nxy\r\n"


async def test_chunk_without_recipient_is_swallowed_and_refused(running: RunningSink):
    client = await running.greeted()
    client.writer.write(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert (await client.reply()).startswith("503 ")
    assert await client.reply() == "250 2.0.0 Ok"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["NONSENSE"], 500),
        (["RCPT TO:<b@y.test>"], 503),
        (["DATA"], 503),
        (["MAIL FROM:a@x.test"], 501),
        (["MAIL FROM:<a b@x.test>"], 501),
        (["MAIL FROM:<a@x.test> SIZE=many"], 501),
        (["MAIL FROM:<a@x.test> COLOUR=red"], 555),
        (["MAIL FROM:<a@x.test> BODY=BINARYMIME"], 555),
        (["MAIL FROM:<a@x.test> REQUIRETLS"], 555),
        (["MAIL FROM:<ü@x.test>"], 553),
        (["MAIL FROM:<a@x.test>", "MAIL FROM:<a@x.test>"], 503),
        (["MAIL FROM:<a@x.test>", "RCPT TO:<>"], 501),
        (["MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test> NOTIFY=NEVER,DELAY"], 501),
        (["MAIL FROM:<a@x.test>", "DATA"], 554),
        (["EHLO"], 501),
        (["NOOP\nMAIL FROM:<a@x.test>"], 500),
    ],
)
async def test_command_out_of_order_or_malformed_is_refused(
    running: RunningSink, lines: list[str], code: int
):
    client = await running.greeted()
    replies = [await client.ask(line) for line in lines]
    assert int(replies[-1][:3]) == code
    assert await client.code("NOOP") == 250


async def test_mail_before_hello_is_refused(running: RunningSink):
    client = await running.connect()
    await client.reply()
    assert await client.code("MAIL FROM:<a@x.test>") == 503


async def test_smtputf8_address_is_taken_with_the_parameter(running: RunningSink):
    client = await running.greeted()
    replies = await client.say("MAIL FROM:<ü@x.test> SMTPUTF8", "RCPT TO:<ö@y.test>", "DATA")
    assert [reply[:3] for reply in replies] == ["250", "250", "354"]
    await client.ask("x\r\n.")
    assert (await running.messages())[0]["recipients"] == ["ö@y.test"]


async def test_line_without_end_is_refused_and_the_connection_closed(running: RunningSink):
    client = await running.greeted()
    client.writer.write(b"x" * 5000)
    assert (await client.reply()).startswith("500 5.5.2")
    assert await client.ended()


async def test_message_above_the_size_on_offer_is_refused_and_not_held_in_memory(
    running: RunningSink,
):
    await running.behave({"stage": "connect", "extensions": {"SIZE": 50_000}})
    client = await running.greeted()
    await client.say("MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA")
    client.writer.write(b"x" * 998 + b"\r\n")
    for _ in range(100):
        client.writer.write(b"x" * 998 + b"\r\n")
        await client.writer.drain()
    assert running.sink.incoming_bytes <= 50_000
    assert (await client.ask(".")).startswith("552 5.3.4")
    assert running.sink.incoming_bytes == 0
    assert (await client.send("a@x.test", "b@y.test")).startswith("250 ")


async def test_connection_lost_in_mid_message_leaves_nothing_behind(running: RunningSink):
    client = await running.greeted()
    await client.say("MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA")
    client.writer.write(b"half a message\r\n")
    client.writer.close()
    await until(lambda: running.sink.counts.interrupted == 1)
    assert running.sink.incoming_bytes == 0
    assert await running.messages() == []


async def test_silent_client_is_told_and_closed():
    async with running_sink(limits=SinkLimits(idle_seconds=0.2)) as running:
        client = await running.greeted()
        assert (await client.reply()).startswith("421 4.4.2")
        assert await client.ended()


async def test_connection_above_the_bound_of_the_sink_gets_421():
    async with running_sink(limits=SinkLimits(connections=1)) as running:
        await running.greeted()
        assert (await (await running.connect()).reply()).startswith("421 4.3.2")


async def test_discard_counts_and_keeps_nothing():
    async with running_sink(discard=True) as running:
        client = await running.greeted()
        await client.send("a@x.test", "b@y.test", "z" * 100 + "\r\n")
        counts = await running.counts()
        assert (counts["accepted"], counts["recipients"], counts["bytes"]) == (1, 1, 102)
        assert counts["domains"]["y.test"]["accepted"] == 1
        assert counts["discard"] is True
        assert await running.messages() == []


async def test_ordinary_client_library_gets_its_mail_through(running: RunningSink):
    async with aiosmtplib.SMTP(
        hostname="127.0.0.1", port=running.port, validate_certs=False
    ) as client:
        await client.sendmail(
            "a@x.test", ["b@y.test", "c@z.test"], b"Subject: hi\r\n\r\n.\r\n.x\r\n"
        )
    (message,) = await running.messages()
    assert message["protocol"] == "ESMTPS"
    raw = await running.http.get("/messages/1/raw")
    assert raw.content == b"Subject: hi\r\n\r\n.\r\n.x\r\n"


class _Pipe(asyncio.Transport):
    """Collects what a session writes; the property test below has no time for sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


_CONTENT = st.lists(
    st.sampled_from([b".", b"..", b"\r\n", b"\r", b"\n", b"a", b".\r", b"\n.", b"QUIT"]),
    max_size=30,
).map(b"".join)


@given(contents=st.lists(_CONTENT, min_size=1, max_size=3), cuts=st.lists(st.integers(0, 400)))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_content_is_kept_byte_for_byte_however_the_stream_is_cut(
    contents: list[bytes], cuts: list[int]
):
    loop = asyncio.new_event_loop()
    try:
        sink = Sink()
        session = SinkSession(sink, loop)
        pipe = _Pipe()
        session.connection_made(pipe)
        stream = b"EHLO c.test\r\n"
        for content in contents:
            text = content + b"\r\n"
            stuffed = text.replace(b"\r\n.", b"\r\n..")
            stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
            stream += b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n" + stuffed + b".\r\n"
        places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        for start, end in itertools.pairwise(places):
            session.data_received(stream[start:end])
        kept = [sink.mailbox.get(number + 1) for number in range(len(contents))]
        assert [message.raw for message in kept] == [content + b"\r\n" for content in contents]
        assert pipe.written.count(b"250 2.0.0 Ok, kept") == len(contents)
    finally:
        loop.close()
