"""The SMTP client against servers that play the files in `dialogs`."""

import asyncio
import ssl
from dataclasses import replace

import pytest

from postroad_smtp.client.commands import Envelope, Rcpt
from postroad_smtp.client.connection import Connection
from postroad_smtp.client.session import (
    ClientSession,
    SmarthostLogin,
    Timeouts,
    TlsWish,
    open_session,
)
from postroad_smtp.client.stage import Fault, Stage, WireError
from postroad_smtp.client.transaction import transact
from postroad_testing.certificates import Issued
from postroad_testing.dialogserver import DialogServer, Start
from postroad_testing.waiting import until

PATIENT = Timeouts(connect=60, greeting=60, command=60, block=60, dot=60)
ONE = Envelope("a@b.test", (Rcpt("c@d.test"),), size=20)
TWO = Envelope("a@b.test", (Rcpt("c@d.test"), Rcpt("e@d.test")), size=20)
MESSAGE = (b"Subject: x\r\n\r\nhello\r\n",)


async def connect(
    server: DialogServer,
    *,
    tls: TlsWish = TlsWish.NONE,
    context: ssl.SSLContext | None = None,
    login: SmarthostLogin | None = None,
    timeouts: Timeouts = PATIENT,
    host: str = "localhost",
) -> ClientSession:
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
    server = await dialog("two_messages_pipelined")
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
    server = await dialog("without_pipelining_each_command_waits_for_its_reply")
    (answer,) = await transact(await connect(server), ONE, MESSAGE)
    assert answer.is_delivered


async def test_ehlo_refused_falls_back_to_helo(dialog: Start):
    server = await dialog("ehlo_refused")
    session = await connect(server)
    assert not session.pipelining
    assert session.usable


@pytest.mark.parametrize("name", ["rcpt_refused_for_one_pipelined", "rcpt_refused_for_one"])
async def test_rcpt_refused_for_one_recipient_leaves_the_other_delivered(dialog: Start, name: str):
    server = await dialog(name)
    first, second = await transact(await connect(server), TWO, MESSAGE)
    assert (first.stage, str(first.reply)) == (Stage.RCPT, "450 4.2.1 later")
    assert second.is_delivered


async def test_data_answered_354_though_all_rcpt_failed_gets_a_lone_dot_then_rset(dialog: Start):
    server = await dialog("data_taken_without_recipients_then_another_message")
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, str(answer.reply)) == (Stage.RCPT, "550 5.1.1 no such user")
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered


@pytest.mark.parametrize("name", ["mail_refused_pipelined", "mail_refused"])
async def test_mail_refused_is_the_answer_for_every_recipient(dialog: Start, name: str):
    server = await dialog(name)
    session = await connect(server)
    answers = await transact(session, TWO, MESSAGE)
    assert [str(answer.reply) for answer in answers] == ["451 4.7.1 slow down"] * 2
    assert {answer.stage for answer in answers} == {Stage.MAIL}
    assert session.usable


@pytest.mark.parametrize("name", ["rset_refused_pipelined", "rset_refused"])
async def test_server_that_does_not_know_rset_refuses_no_message_by_that(dialog: Start, name: str):
    server = await dialog(name)
    session = await connect(server)
    await transact(session, ONE, MESSAGE)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, answer.reply, answer.fault) == (Stage.MAIL, None, Fault.DROPPED)
    assert "502 5.5.1" in answer.detail
    assert not session.usable
    session.quit()
    await server.finished()


async def test_data_refused_is_the_answer_of_accepted_recipients_only(dialog: Start):
    server = await dialog("data_refused")
    first, second = await transact(await connect(server), TWO, MESSAGE)
    assert (first.stage, first.reply and first.reply.code) == (Stage.RCPT, 550)
    assert (second.stage, second.reply and second.reply.code) == (Stage.DATA, 452)


async def test_connection_lost_after_the_final_dot_is_unknown(dialog: Start):
    server = await dialog("lost_after_the_final_dot")
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, answer.fault, answer.reply) == (Stage.DOT, Fault.DROPPED, None)
    assert not answer.is_delivered
    assert not session.usable


async def test_large_message_cut_off_in_the_middle_is_not_unknown(dialog: Start):
    server = await dialog("reset_within_the_message")
    session = await connect(server)
    (answer,) = await transact(
        session, ONE, [b"Subject: x\r\n\r\n"] + [b"x" * 70 + b"\r\n"] * 500_000
    )
    assert (answer.stage, answer.fault) == (Stage.DATA, Fault.DROPPED)


async def test_server_that_stops_reading_is_a_timeout_however_long_its_commands_may_take(
    dialog: Start,
):
    server = await dialog("nothing_read_after_354")
    session = await connect(
        server, timeouts=replace(PATIENT, greeting=3600, command=3600, block=0.2)
    )
    async with asyncio.timeout(90):
        (answer,) = await transact(session, ONE, [bytes(4_000_000), bytes(4_000_000)])
    assert (answer.stage, answer.fault) == (Stage.DATA, Fault.TIMEOUT)


async def test_large_message_refused_in_the_middle_keeps_the_reply(dialog: Start):
    server = await dialog("refused_within_the_message")
    session = await connect(server)
    (answer,) = await transact(session, ONE, [bytes(4_000_000), bytes(4_000_000)])
    assert answer.reply is not None
    assert str(answer.reply) == "552 5.3.4 too large after all"
    assert not session.usable


async def test_connection_lost_between_rcpt_replies_keeps_what_was_answered(dialog: Start):
    server = await dialog("lost_between_replies_to_rcpt")
    first, second = await transact(await connect(server), TWO, MESSAGE)
    assert (first.stage, first.reply and first.reply.code) == (Stage.RCPT, 550)
    assert (second.stage, second.fault) == (Stage.RCPT, Fault.DROPPED)


@pytest.mark.parametrize(
    "replies",
    [
        ["250 a", "250 a", "550 5.1.1 the first is unknown", "250 b", "354 go"],  # MAIL twice
        ["250 a", "550 5.1.1 the first is unknown", "250 b", "550 5.1.1 who?", "354 go"],
        ["250 a", "250 b", "550 5.1.1 unknown", "250 data will do"],
        ["250 a", "250 b", "354 go", "550 5.1.1 the second is unknown"],
        ["250 a", "550 5.1.1 the first is unknown", "354 go", "503 what?"],
        ["250 a", "550 5.1.1 a", "550 5.1.1 b", "503 no recipients", "554 5.5.1 and another"],
    ],
)
async def test_replies_out_of_step_are_no_answer_for_anybody(dialog: Start, replies: list[str]):
    server = await dialog(
        "two_recipients_answered_with", replies="".join(rf"{reply}\r\n" for reply in replies)
    )
    session = await connect(server)
    answers = await transact(session, TWO, MESSAGE)
    assert [(answer.reply, answer.fault) for answer in answers] == [(None, Fault.GARBLED)] * 2
    assert session.out_of_step
    assert not session.usable


async def test_421_between_replies_to_rcpt_leaves_those_after_it_unanswered(dialog: Start):
    replies = ["250 a", "421 4.3.2 going down", "550 5.1.1 the second is unknown"]
    server = await dialog(
        "two_recipients_answered_with", replies="".join(rf"{reply}\r\n" for reply in replies)
    )
    first, second = await transact(await connect(server), TWO, MESSAGE)
    for answer in (first, second):
        assert answer.reply is None or answer.reply.is_transient


@pytest.mark.parametrize("data", ["250 ok", "220 ready"])
async def test_data_answered_with_2yz_gets_no_message(dialog: Start, data: str):
    server = await dialog("one_reply_after_the_other", data=data)
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, answer.fault) == (Stage.DATA, Fault.GARBLED)
    assert not session.out_of_step  # it was not pipelined
    session.quit()
    await server.finished()


async def test_server_that_talks_on_and_on_is_left(dialog: Start):
    server = await dialog("talks_on_and_on", replies=r"250 ok\r\n" * 30)
    await connect(server)
    await server.finished()


async def test_421_at_mail_closes_the_session_and_is_the_answer(dialog: Start):
    server = await dialog("421_at_mail")
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, str(answer.reply)) == (Stage.MAIL, "421 4.7.0 too busy")
    assert not session.usable


async def test_reply_nobody_asked_for_makes_the_session_unusable(dialog: Start):
    server = await dialog("421_unasked")
    session = await connect(server)
    await until(lambda: not session.usable)
    session.quit()
    await server.finished()


@pytest.mark.parametrize("junk", ["hello there", "2x0 ok", "999 x", "x" * 3000, "2500 octets"])
async def test_octets_that_are_no_reply_end_the_conversation(dialog: Start, junk: str):
    server = await dialog("mail_answered_with_junk", junk=junk)
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, answer.fault) == (Stage.MAIL, Fault.GARBLED)


@pytest.mark.parametrize(
    "name", ["any_message_answered_with", "any_message_answered_without_pipelining_with"]
)
@pytest.mark.parametrize(
    "lines",
    [
        ["250-2.0.0 queued", "251 as 1"],
        ["scanned by Gate", "250 2.0.0 queued"],
        ["250 2.0.0 queued", "have a nice day"],
        ["250 " + "x" * 5000],
        ["250-" + "x" * 3000, "250 ok"],
        [*["250-" + "x" * 1900] * 40, "250 ok"],
        ["250ok"],
        ["250-queued"],  # and the connection is closed
        ["354 go on", "250 ok"],
    ],
)
async def test_odd_positive_reply_to_the_message_is_a_delivery_and_ends_the_session(
    dialog: Start, name: str, lines: list[str]
):
    server = await dialog(name, reply="".join(rf"{line}\r\n" for line in lines))
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered
    await until(lambda: not session.usable)
    assert "S: 25" in session.told(0)


async def test_odd_reply_to_ehlo_costs_no_mail_but_the_session_carries_one_only(dialog: Start):
    session = await connect(await dialog("odd_reply_to_ehlo"))
    assert session.pipelining
    assert session.usable
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered
    assert not session.usable
    session.quit()


@pytest.mark.parametrize("again", ["354 really", "please"])
async def test_large_message_goes_on_when_the_server_says_twice_that_it_may(
    dialog: Start, again: str
):
    server = await dialog("354_twice", again=again)
    body = [b"Subject: x\r\n\r\n"] + [b"x" * 70 + b"\r\n"] * 900
    (answer,) = await transact(await connect(server), ONE, body)
    assert answer.is_delivered


async def test_stray_octets_in_clear_after_the_reply_to_starttls_end_the_connection(
    dialog: Start,
):
    server = await dialog("stray_octets_before_the_handshake")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert "in clear" in caught.value.detail


async def test_bare_lf_and_dots_are_sent_canonical_and_stuffed(dialog: Start):
    server = await dialog("message_taken")
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
    server = await dialog("parameters_of_dsn")
    answers = await transact(await connect(server), envelope, MESSAGE)
    assert all(answer.is_delivered for answer in answers)


async def test_dsn_parameters_stay_here_where_dsn_is_not_offered(dialog: Start):
    envelope = Envelope("a@b.test", (Rcpt("c@d.test", ("success",)),), 20, ret="full", envid="x")
    server = await dialog("no_parameters_without_extensions")
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
    server = await dialog("opened_and_quit")
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


async def test_8bit_content_is_declared_only_where_8bitmime_is_offered(dialog: Start):
    server = await dialog("8bit_without_8bitmime")
    body = ("Subject: é\r\n\r\né\r\n".encode(),)
    (answer,) = await transact(await connect(server), replace(ONE, eightbit=True), body)
    assert answer.is_delivered
    assert server.messages == [body[0] + b".\r\n"]


# -- opening


@pytest.mark.parametrize(
    ("name", "reply", "stage"),
    [
        ("refused_at_the_banner", "421 4.7.0 too many connections", Stage.BANNER),
        ("refused_at_the_banner", "554 5.7.1 blocked", Stage.BANNER),
        ("refused_at_ehlo", "421 bye", Stage.EHLO),
        ("refused_at_helo", "550 no", Stage.EHLO),
    ],
)
async def test_refused_opening_tells_stage_and_reply(
    dialog: Start, name: str, reply: str, stage: Stage
):
    server = await dialog(name, reply=reply)
    with pytest.raises(WireError) as caught:
        await connect(server)
    assert caught.value.stage is stage
    assert str(caught.value.reply) == reply


async def test_silent_server_is_a_timeout_at_the_banner(dialog: Start):
    server = await dialog("silence")
    with pytest.raises(WireError) as caught:
        await connect(server, timeouts=replace(PATIENT, greeting=0.05))
    assert (caught.value.stage, caught.value.fault) == (Stage.BANNER, Fault.TIMEOUT)


async def test_starttls_is_used_where_offered_and_told(dialog: Start):
    server = await dialog("message_taken_under_tls")
    session = await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert session.tls is not None
    assert session.protection.startswith("TLSv1.3 TLS_")
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered


async def test_verified_certificate_is_told(dialog: Start, certificate: Issued):
    server = await dialog("opening_under_tls")
    context = ssl.create_default_context(cafile=str(certificate.path))
    session = await connect(server, tls=TlsWish.REQUIRED, context=context)
    assert session.tls is not None
    assert session.tls.verified


async def test_unknown_certificate_is_tls_fault_where_it_must_be_good(dialog: Start):
    server = await dialog("opening_under_tls")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.REQUIRED, context=ssl.create_default_context())
    assert (caught.value.stage, caught.value.fault) == (Stage.STARTTLS, Fault.TLS)
    assert "self-signed" in caught.value.detail


async def test_octets_after_the_reply_to_starttls_end_the_connection(dialog: Start):
    server = await dialog("octets_before_the_handshake")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert caught.value.fault is Fault.TLS
    assert "in clear" in caught.value.detail


async def test_421_to_starttls_is_about_the_connection_and_not_about_tls(dialog: Start):
    server = await dialog("starttls_answered_with_421")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert str(caught.value.reply) == "421 4.7.0 too many connections"


@pytest.mark.parametrize("name", ["a" * 70 + ".test", r"x\..test", ".test"])
async def test_name_that_no_certificate_can_have_is_tls_fault(dialog: Start, name: str):
    server = await dialog("opening_under_tls")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax(), host=name)
    assert (caught.value.stage, caught.value.fault) == (Stage.STARTTLS, Fault.TLS)


async def test_required_tls_that_is_not_offered_ends_it(dialog: Start):
    server = await dialog("opened_and_left")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.REQUIRED, context=lax())
    assert caught.value.fault is Fault.TLS
    await server.finished()


async def test_auth_login_under_tls(dialog: Start):
    server = await dialog("auth_login_under_tls")
    session = await connect(
        server, tls=TlsWish.REQUIRED, context=lax(), login=SmarthostLogin("me", "secret")
    )
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered


async def test_auth_plain_refused_tells_the_reply(dialog: Start):
    server = await dialog("auth_plain_refused")
    with pytest.raises(WireError) as caught:
        await connect(server, login=SmarthostLogin("me", "secret"))
    assert caught.value.stage is Stage.AUTH
    assert str(caught.value.reply) == "535 5.7.8 no"


async def test_password_is_never_sent_in_clear_unless_the_route_says_no_tls(dialog: Start):
    server = await dialog("opened_and_left")
    with pytest.raises(WireError) as caught:
        await connect(
            server, tls=TlsWish.OPPORTUNISTIC, context=lax(), login=SmarthostLogin("me", "x")
        )
    assert (caught.value.stage, caught.value.fault) == (Stage.AUTH, Fault.TLS)
    await server.finished()


def test_password_is_not_in_the_text_of_a_login():
    assert "secret" not in repr(SmarthostLogin("me", "secret"))
