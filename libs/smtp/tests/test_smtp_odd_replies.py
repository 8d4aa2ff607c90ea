"""Servers whose replies are not those to the commands, or not as SMTP has them."""

from typing import Any

import pytest

from postroad_smtp.client.commands import Envelope, Rcpt
from postroad_smtp.client.stage import Fault, Stage
from postroad_smtp.client.transaction import transact
from postroad_testing.dialogserver import Start
from postroad_testing.waiting import until

ONE = Envelope("a@b.test", (Rcpt("c@d.test"),), size=20)
TWO = Envelope("a@b.test", (Rcpt("c@d.test"), Rcpt("e@d.test")), size=20)
MESSAGE = (b"Subject: x\r\n\r\nhello\r\n",)


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
async def test_replies_out_of_step_are_no_answer_for_anybody(
    dialog: Start, connect: Any, replies: list[str]
):
    server = await dialog(
        "two_recipients_answered_with", replies="".join(rf"{reply}\r\n" for reply in replies)
    )
    session = await connect(server)
    answers = await transact(session, TWO, MESSAGE)
    assert [(answer.reply, answer.fault) for answer in answers] == [(None, Fault.GARBLED)] * 2
    assert session.out_of_step
    assert not session.usable


async def test_421_between_replies_to_rcpt_leaves_those_after_it_unanswered(
    dialog: Start, connect: Any
):
    replies = ["250 a", "421 4.3.2 going down", "550 5.1.1 the second is unknown"]
    server = await dialog(
        "two_recipients_answered_with", replies="".join(rf"{reply}\r\n" for reply in replies)
    )
    first, second = await transact(await connect(server), TWO, MESSAGE)
    for answer in (first, second):
        assert answer.reply is None or answer.reply.is_transient


@pytest.mark.parametrize("data", ["250 ok", "220 ready"])
async def test_data_answered_with_2yz_gets_no_message(dialog: Start, connect: Any, data: str):
    server = await dialog("one_reply_after_the_other", data=data)
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, answer.fault) == (Stage.DATA, Fault.GARBLED)
    assert not session.out_of_step  # it was not pipelined
    session.quit()
    await server.finished()


async def test_server_that_talks_on_and_on_is_left(dialog: Start, connect: Any):
    server = await dialog("talks_on_and_on", replies=r"250 ok\r\n" * 30)
    await connect(server)
    await server.finished()


async def test_421_at_mail_closes_the_session_and_is_the_answer(dialog: Start, connect: Any):
    server = await dialog("421_at_mail")
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, str(answer.reply)) == (Stage.MAIL, "421 4.7.0 too busy")
    assert not session.usable


async def test_reply_nobody_asked_for_makes_the_session_unusable(dialog: Start, connect: Any):
    server = await dialog("421_unasked")
    session = await connect(server)
    await until(lambda: not session.usable)
    session.quit()
    await server.finished()


@pytest.mark.parametrize("junk", ["hello there", "2x0 ok", "999 x", "x" * 3000, "2500 octets"])
async def test_octets_that_are_no_reply_end_the_conversation(
    dialog: Start, connect: Any, junk: str
):
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
    dialog: Start, connect: Any, name: str, lines: list[str]
):
    server = await dialog(name, reply="".join(rf"{line}\r\n" for line in lines))
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered
    await until(lambda: not session.usable)
    assert "S: 25" in session.told(0)


async def test_odd_reply_to_ehlo_costs_no_mail_but_the_session_carries_one_only(
    dialog: Start, connect: Any
):
    session = await connect(await dialog("odd_reply_to_ehlo"))
    assert session.pipelining
    assert session.usable
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered
    assert not session.usable
    session.quit()


@pytest.mark.parametrize("again", ["354 really", "please"])
async def test_large_message_goes_on_when_the_server_says_twice_that_it_may(
    dialog: Start, connect: Any, again: str
):
    server = await dialog("354_twice", again=again)
    body = [b"Subject: x\r\n\r\n"] + [b"x" * 70 + b"\r\n"] * 900
    (answer,) = await transact(await connect(server), ONE, body)
    assert answer.is_delivered
