"""The SMTP client against scripted servers."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postroad_smtp.client.commands import Envelope, Rcpt
from postroad_smtp.client.connection import Connection
from postroad_smtp.client.session import Login, Session, Timeouts, TlsWish, open_session
from postroad_smtp.client.stage import Stage, Trouble, WireError
from postroad_smtp.client.transaction import transact
from postroad_testing.waiting import until

Start = Callable[[str], Awaitable[Any]]

SHORT = Timeouts(connect=2, greeting=2, command=2, block=2, dot=2)
HELLO = """
S: 220 mx.test ready
C: EHLO me.test
S: 250-mx.test
S+ 250-PIPELINING
S+ 250-SIZE 1000000
S+ 250-DSN
S+ 250 8BITMIME
"""
PLAIN_HELLO = """
S: 220 mx.test ready
C: EHLO me.test
S: 250 mx.test
"""
ONE = Envelope("a@b.test", (Rcpt("c@d.test"),), size=20)
TWO = Envelope("a@b.test", (Rcpt("c@d.test"), Rcpt("e@d.test")), size=20)
MESSAGE = (b"Subject: x\r\n\r\nhello\r\n",)


async def connect(
    server: Any,
    *,
    tls: TlsWish = TlsWish.NONE,
    context: ssl.SSLContext | None = None,
    login: Login | None = None,
    timeouts: Timeouts = SHORT,
    host: str = "localhost",
) -> Session:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(timeouts.greeting), "127.0.0.1", server.port
    )
    return await open_session(
        connection,
        host=host,
        hostname="me.test",
        tls=tls,
        context=context,
        login=login,
        timeouts=timeouts,
    )


def lax() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# -- a transaction


async def test_pipelined_message_is_delivered_and_the_session_carries_another(dialog: Start):
    again = """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: DATA
    S: 250 2.1.0 ok
    S+ 250 2.1.5 ok
    S+ 354 go
    C: [message]
    S: 250 2.0.0 queued as 1
    """
    server = await dialog(HELLO + again + again + "C: QUIT\nC: [gone]")
    session = await connect(server)
    for _ in range(2):
        (answer,) = await transact(session, ONE, MESSAGE)
        assert answer.is_delivered
        assert str(answer.reply) == "250 2.0.0 queued as 1"
        assert session.usable
    session.quit()
    await server.finished()
    assert server.messages == [MESSAGE[0] + b".\r\n"] * 2


async def test_without_pipelining_each_command_waits_for_its_reply(dialog: Start):
    server = await dialog(
        PLAIN_HELLO
        + """
    C: MAIL FROM:<a@b.test>
    S: 250 ok
    C: RCPT TO:<c@d.test>
    S: 250 ok
    C: DATA
    S: 354 go
    C: [message]
    S: 250 ok
    """
    )
    (answer,) = await transact(await connect(server), ONE, MESSAGE)
    assert answer.is_delivered


async def test_ehlo_refused_falls_back_to_helo(dialog: Start):
    server = await dialog("S: 220 x\nC: EHLO me.test\nS: 502 what\nC: HELO me.test\nS: 250 hi")
    session = await connect(server)
    assert not session.pipelining
    assert session.usable


@pytest.mark.parametrize("hello", [HELLO, PLAIN_HELLO])
async def test_rcpt_refused_for_one_recipient_leaves_the_other_delivered(dialog: Start, hello: str):
    grouped = """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: RCPT TO:<e@d.test>
    C: DATA
    S: 250 ok
    S: 450 4.2.1 later
    S: 250 ok
    S: 354 go
    """
    single = """
    C: MAIL FROM:<a@b.test>
    S: 250 ok
    C: RCPT TO:<c@d.test>
    S: 450 4.2.1 later
    C: RCPT TO:<e@d.test>
    S: 250 ok
    C: DATA
    S: 354 go
    """
    body = grouped if hello is HELLO else single
    server = await dialog(hello + body + "C: [message]\nS: 250 2.0.0 ok")
    first, second = await transact(await connect(server), TWO, MESSAGE)
    assert (first.stage, str(first.reply)) == (Stage.RCPT, "450 4.2.1 later")
    assert second.is_delivered


async def test_data_answered_354_though_all_rcpt_failed_gets_a_lone_dot_then_rset(dialog: Start):
    server = await dialog(
        HELLO
        + """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: DATA
    S: 250 ok
    S: 550 5.1.1 no such user
    S: 354 go
    C: [lone dot]
    S: 554 5.5.1 no valid recipients
    C: RSET
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 250 ok
    S: 354 go
    C: [message]
    S: 250 ok
    """
    )
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, str(answer.reply)) == (Stage.RCPT, "550 5.1.1 no such user")
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered


@pytest.mark.parametrize("hello", [HELLO, PLAIN_HELLO])
async def test_mail_refused_is_the_answer_for_every_recipient(dialog: Start, hello: str):
    grouped = """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: RCPT TO:<e@d.test>
    C: DATA
    S: 451 4.7.1 slow down
    S: 503 no
    S: 503 no
    S: 503 no
    """
    single = "C: MAIL FROM:<a@b.test>\nS: 451 4.7.1 slow down"
    server = await dialog(hello + (grouped if hello is HELLO else single))
    session = await connect(server)
    answers = await transact(session, TWO, MESSAGE)
    assert [str(answer.reply) for answer in answers] == ["451 4.7.1 slow down"] * 2
    assert {answer.stage for answer in answers} == {Stage.MAIL}
    assert session.usable


async def test_data_refused_is_the_answer_of_accepted_recipients_only(dialog: Start):
    server = await dialog(
        HELLO
        + """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: RCPT TO:<e@d.test>
    C: DATA
    S: 250 ok
    S: 550 5.1.1 unknown
    S: 250 ok
    S: 452 4.3.1 disk full
    """
    )
    first, second = await transact(await connect(server), TWO, MESSAGE)
    assert (first.stage, first.reply and first.reply.code) == (Stage.RCPT, 550)
    assert (second.stage, second.reply and second.reply.code) == (Stage.DATA, 452)


async def test_connection_lost_behind_the_final_dot_is_unknown(dialog: Start):
    server = await dialog(
        HELLO
        + """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 354 go
    C: [message]
    S: [close]
    """
    )
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, answer.trouble, answer.reply) == (Stage.DOT, Trouble.DROPPED, None)
    assert not answer.is_delivered
    assert not session.usable


async def test_large_message_cut_off_in_the_middle_is_not_unknown(dialog: Start):
    server = await dialog(
        HELLO
        + """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 354 go
    S: [reset]
    """
    )
    session = await connect(server)
    (answer,) = await transact(
        session, ONE, [b"Subject: x\r\n\r\n"] + [b"x" * 70 + b"\r\n"] * 500_000
    )
    assert (answer.stage, answer.trouble) == (Stage.DATA, Trouble.DROPPED)


async def test_server_that_stops_reading_is_a_timeout(dialog: Start):
    server = await dialog(
        HELLO
        + """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 354 go
    S: [silence]
    """
    )
    session = await connect(server, timeouts=replace(SHORT, block=0.2))
    (answer,) = await transact(session, ONE, [bytes(4_000_000), bytes(4_000_000)])
    assert (answer.stage, answer.trouble) == (Stage.DATA, Trouble.TIMEOUT)


async def test_large_message_refused_in_the_middle_keeps_the_reply(dialog: Start):
    server = await dialog(
        HELLO
        + """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 354 go
    S: 552 5.3.4 too large after all
    S: [silence]
    """
    )
    session = await connect(server)
    (answer,) = await transact(session, ONE, [bytes(4_000_000), bytes(4_000_000)])
    assert answer.reply is not None
    assert str(answer.reply) == "552 5.3.4 too large after all"
    assert not session.usable


async def test_connection_lost_between_rcpt_replies_keeps_what_was_answered(dialog: Start):
    server = await dialog(
        HELLO
        + """
    C: MAIL FROM:<a@b.test> SIZE=20
    C: RCPT TO:<c@d.test>
    C: RCPT TO:<e@d.test>
    C: DATA
    S: 250 ok
    S: 550 5.1.1 unknown
    S: [close]
    """
    )
    first, second = await transact(await connect(server), TWO, MESSAGE)
    assert (first.stage, first.reply and first.reply.code) == (Stage.RCPT, 550)
    assert (second.stage, second.trouble) == (Stage.RCPT, Trouble.DROPPED)


async def test_421_at_mail_closes_the_session_and_is_the_answer(dialog: Start):
    server = await dialog(
        HELLO + "C: MAIL FROM:<a@b.test> SIZE=20\nC: *\nC: *\nS: 421 4.7.0 too busy\nS: [close]"
    )
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, str(answer.reply)) == (Stage.MAIL, "421 4.7.0 too busy")
    assert not session.usable


async def test_reply_nobody_asked_for_makes_the_session_unusable(dialog: Start):
    server = await dialog(HELLO + "S: 421 4.4.2 idle too long\nC: [gone]")
    session = await connect(server)
    async with asyncio.timeout(2):
        while session.usable:  # noqa: ASYNC110 - waits for octets
            await asyncio.sleep(0.005)
    session.quit()
    await server.finished()


@pytest.mark.parametrize("junk", ["hello there", "2x0 ok", "999 x", "x" * 3000, "2500 octets"])
async def test_octets_that_are_no_reply_end_the_conversation(dialog: Start, junk: str):
    server = await dialog(
        HELLO + "C: MAIL *\nC: *\nC: *\n" + "\n".join([f"S: {junk}"] * (40 if "-x" in junk else 1))
    )
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, answer.trouble) == (Stage.MAIL, Trouble.GARBLED)


@pytest.mark.parametrize("hello", [HELLO, PLAIN_HELLO])
@pytest.mark.parametrize(
    "reply",
    [
        "S: 250-2.0.0 queued\nS: 251 as 1",
        "S: scanned by Gate\nS: 250 2.0.0 queued",
        "S: 250 2.0.0 queued\nS+ have a nice day",
        "S: 250 " + "x" * 5000,
        "S: 250-" + "x" * 3000 + "\nS: 250 ok",
        "\n".join(["S: 250-" + "x" * 1900] * 40) + "\nS: 250 ok",
        "S: 250ok",
        "S: 250-queued\nS: [close]",
        "S: 354 go on\nS: 250 ok",
    ],
)
async def test_odd_positive_reply_to_the_message_is_a_delivery_and_ends_the_session(
    dialog: Start, hello: str, reply: str
):
    server = await dialog(hello + (DELIVERY if hello is HELLO else SINGLE) + reply)
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered
    await until(lambda: not session.usable)
    assert "S: 25" in session.told(0)


async def test_odd_reply_to_ehlo_costs_no_mail_but_the_session_carries_one_only(dialog: Start):
    hello = "S: 220 x\nC: EHLO me.test\nS: 250-mx.test\nS+ 250-PIPELINING\nS+ ?\nS+ 251 8BITMIME"
    server = await dialog(hello + "\n" + DELIVERY + "S: 250 ok\nC: QUIT\nC: [gone]")
    session = await connect(server)
    assert session.pipelining
    assert session.usable
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered
    assert not session.usable
    session.quit()


@pytest.mark.parametrize("again", ["S+ 354 really", "S+ please"])
async def test_large_message_goes_on_when_the_server_says_twice_that_it_may(
    dialog: Start, again: str
):
    server = await dialog(
        HELLO
        + "C: *\nC: *\nC: *\nS: 250 a\nS: 250 b\nS: 354 c\n"
        + again
        + "\nC: [message]\nS: 250 d"
    )
    body = [b"Subject: x\r\n\r\n"] + [b"x" * 70 + b"\r\n"] * 900
    (answer,) = await transact(await connect(server), ONE, body)
    assert answer.is_delivered


async def test_stray_octets_in_clear_behind_the_reply_to_starttls_end_the_connection(
    dialog: Start,
):
    server = await dialog(
        "S: 220 x\nC: EHLO me.test\nS: 250-x\nS+ 250 STARTTLS\nC: STARTTLS\n"
        "S: 220 go ahead\nS+ injected\nC: [gone]"
    )
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert "in clear" in caught.value.detail


async def test_bare_lf_and_dots_are_sent_canonical_and_stuffed(dialog: Start):
    server = await dialog(
        HELLO + "C: MAIL *\nC: *\nC: *\nS: 250 a\nS: 250 b\nS: 354 c\nC: [message]\nS: 250 d"
    )
    (answer,) = await transact(
        await connect(server),
        ONE,
        [b"Subject: x\n\n", memoryview(b".dot\r\n.\r\n\r\nMAIL FROM:<x>")],
    )
    assert answer.is_delivered
    assert server.messages == [b"Subject: x\r\n\r\n..dot\r\n..\r\n\r\nMAIL FROM:<x>\r\n.\r\n"]


# -- parameters


async def test_dsn_parameters_are_passed_on_per_recipient_where_dsn_is_offered(dialog: Start):
    envelope = Envelope(
        "",
        (
            Rcpt("c@d.test", ("success", "failure"), "rfc822;c+x@old.test"),
            Rcpt("e@d.test", ("never",)),
        ),
        size=20,
        ret="hdrs",
        envid="id=1",
        eightbit=True,
    )
    server = await dialog(
        HELLO
        + """
    C: MAIL FROM:<> SIZE=20 BODY=8BITMIME RET=HDRS ENVID=id+3D1
    C: RCPT TO:<c@d.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;c+2Bx@old.test
    C: RCPT TO:<e@d.test> NOTIFY=NEVER
    C: DATA
    S: 250 a
    S: 250 b
    S: 250 c
    S: 354 d
    C: [message]
    S: 250 e
    """
    )
    answers = await transact(await connect(server), envelope, MESSAGE)
    assert all(answer.is_delivered for answer in answers)


async def test_dsn_parameters_stay_here_where_dsn_is_not_offered(dialog: Start):
    envelope = Envelope("a@b.test", (Rcpt("c@d.test", ("success",)),), 20, ret="full", envid="x")
    server = await dialog(
        PLAIN_HELLO + "C: MAIL FROM:<a@b.test>\nS: 250 a\nC: RCPT TO:<c@d.test>\nS: 550 5.1.1 no"
    )
    (answer,) = await transact(await connect(server), envelope, MESSAGE)
    assert answer.reply is not None
    assert answer.reply.code == 550


@pytest.mark.parametrize(
    ("envelope", "enhanced"),
    [
        (replace(ONE, size=1_000_001), "5.3.4"),
        (replace(ONE, smtputf8=True), "5.6.7"),
        (replace(ONE, requiretls=True), "5.7.30"),
        (replace(ONE, sender="a@b.test>\r\nRCPT TO:<x@y.test"), "5.1.7"),
        (replace(ONE, recipients=(Rcpt("c@d.test\r\nDATA"),)), "5.1.3"),
        (replace(ONE, recipients=(Rcpt("c@d.test> NOTIFY=NEVER"),)), "5.1.3"),
    ],
)
async def test_what_the_server_cannot_take_fails_without_a_command(
    dialog: Start, envelope: Envelope, enhanced: str
):
    server = await dialog(HELLO + "C: QUIT\nC: [gone]")
    session = await connect(server)
    (answer,) = await transact(session, envelope, MESSAGE)
    assert answer.reply is not None
    assert (answer.local, answer.reply.enhanced, answer.reply.is_permanent) == (
        True,
        enhanced,
        True,
    )
    session.quit()
    await server.finished()


async def test_8bit_content_fails_clearly_where_8bitmime_is_not_offered(dialog: Start):
    server = await dialog(PLAIN_HELLO)
    (answer,) = await transact(await connect(server), replace(ONE, eightbit=True), MESSAGE)
    assert answer.reply is not None
    assert answer.reply.enhanced == "5.6.3"


# -- opening


@pytest.mark.parametrize(
    ("text", "stage", "code"),
    [
        ("S: 421 4.7.0 too many connections", Stage.BANNER, 421),
        ("S: 554 5.7.1 blocked", Stage.BANNER, 554),
        ("S: 220 x\nC: EHLO me.test\nS: 421 bye", Stage.EHLO, 421),
        ("S: 220 x\nC: EHLO me.test\nS: 500 no\nC: HELO me.test\nS: 550 no", Stage.EHLO, 550),
    ],
)
async def test_refused_opening_tells_stage_and_reply(
    dialog: Start, text: str, stage: Stage, code: int
):
    server = await dialog(text)
    with pytest.raises(WireError) as caught:
        await connect(server)
    assert caught.value.stage is stage
    assert caught.value.reply is not None
    assert caught.value.reply.code == code


async def test_silent_server_is_a_timeout_at_the_banner(dialog: Start):
    server = await dialog("S: [silence]")
    with pytest.raises(WireError) as caught:
        await connect(server, timeouts=replace(SHORT, greeting=0.05))
    assert (caught.value.stage, caught.value.trouble) == (Stage.BANNER, Trouble.TIMEOUT)


TLS_HELLO = """
S: 220 x
C: EHLO me.test
S: 250-x
S+ 250 STARTTLS
C: STARTTLS
S: 220 go ahead
S: [starttls]
C: EHLO me.test
S: 250-x
S+ 250-AUTH LOGIN
S+ 250 PIPELINING
"""
DELIVERY = """
C: MAIL *
C: *
C: *
S: 250 a
S: 250 b
S: 354 c
C: [message]
"""
SINGLE = """
C: MAIL *
S: 250 a
C: RCPT *
S: 250 b
C: DATA
S: 354 c
C: [message]
"""
ACCEPTED = "S: 250 d"


async def test_starttls_is_used_where_offered_and_told(dialog: Start):
    server = await dialog(TLS_HELLO + DELIVERY + ACCEPTED)
    session = await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert session.tls is not None
    assert session.protection.startswith("TLSv1.3 TLS_")
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered


async def test_verified_certificate_is_told(dialog: Start, certificate: Path):
    server = await dialog(TLS_HELLO)
    context = ssl.create_default_context(cafile=str(certificate))
    session = await connect(server, tls=TlsWish.REQUIRED, context=context)
    assert session.tls is not None
    assert session.tls.verified


async def test_unknown_certificate_is_tls_trouble_where_it_must_be_good(dialog: Start):
    server = await dialog(TLS_HELLO)
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.REQUIRED, context=ssl.create_default_context())
    assert (caught.value.stage, caught.value.trouble) == (Stage.STARTTLS, Trouble.TLS)
    assert "self-signed" in caught.value.detail


async def test_octets_behind_the_reply_to_starttls_end_the_connection(dialog: Start):
    server = await dialog(
        "S: 220 x\nC: EHLO me.test\nS: 250-x\nS+ 250 STARTTLS\nC: STARTTLS\n"
        "S: 220 go ahead\nS+ 250-x\nS+ 250 AUTH PLAIN\nC: [gone]"
    )
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert caught.value.trouble is Trouble.TLS
    assert "in clear" in caught.value.detail


async def test_required_tls_that_is_not_offered_ends_it(dialog: Start):
    server = await dialog(HELLO + "C: [gone]")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.REQUIRED, context=lax())
    assert caught.value.trouble is Trouble.TLS
    await server.finished()


async def test_auth_login_under_tls(dialog: Start):
    auth = (
        "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: bWU=\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 235 ok"
    )
    server = await dialog(TLS_HELLO + auth + DELIVERY + ACCEPTED)
    session = await connect(
        server, tls=TlsWish.REQUIRED, context=lax(), login=Login("me", "secret")
    )
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered


async def test_auth_plain_refused_tells_the_reply(dialog: Start):
    server = await dialog(
        "S: 220 x\nC: EHLO me.test\nS: 250-x\nS+ 250 AUTH PLAIN LOGIN\n"
        "C: AUTH PLAIN AG1lAHNlY3JldA==\nS: 535 5.7.8 no"
    )
    with pytest.raises(WireError) as caught:
        await connect(server, login=Login("me", "secret"))
    assert caught.value.stage is Stage.AUTH
    assert str(caught.value.reply) == "535 5.7.8 no"


async def test_password_is_never_sent_in_clear_unless_the_route_says_no_tls(dialog: Start):
    server = await dialog(HELLO + "C: [gone]")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax(), login=Login("me", "x"))
    assert (caught.value.stage, caught.value.trouble) == (Stage.AUTH, Trouble.TLS)
    await server.finished()


def test_password_is_not_in_the_text_of_a_login():
    assert "secret" not in repr(Login("me", "secret"))
