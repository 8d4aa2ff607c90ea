"""One message through an open session, with servers that play the files in `dialogs`."""

from typing import Any

import pytest

from postroad_smtp.client.commands import Envelope, Rcpt
from postroad_smtp.client.stage import Fault, Stage
from postroad_smtp.client.transaction import transact
from postroad_testing.dialogserver import Start

ONE = Envelope("a@b.test", (Rcpt("c@d.test"),), size=20)
TWO = Envelope("a@b.test", (Rcpt("c@d.test"), Rcpt("e@d.test")), size=20)
MESSAGE = (b"Subject: x\r\n\r\nhello\r\n",)


async def test_pipelined_message_is_delivered_and_the_session_carries_another(
    dialog: Start, connect: Any
):
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


async def test_without_pipelining_each_command_waits_for_its_reply(dialog: Start, connect: Any):
    server = await dialog("without_pipelining_each_command_waits_for_its_reply")
    (answer,) = await transact(await connect(server), ONE, MESSAGE)
    assert answer.is_delivered


@pytest.mark.parametrize("name", ["rcpt_refused_for_one_pipelined", "rcpt_refused_for_one"])
async def test_rcpt_refused_for_one_recipient_leaves_the_other_delivered(
    dialog: Start, connect: Any, name: str
):
    server = await dialog(name)
    first, second = await transact(await connect(server), TWO, MESSAGE)
    assert (first.stage, str(first.reply)) == (Stage.RCPT, "450 4.2.1 later")
    assert second.is_delivered


async def test_data_answered_354_though_all_rcpt_failed_gets_a_lone_dot_then_rset(
    dialog: Start, connect: Any
):
    server = await dialog("data_taken_without_recipients_then_another_message")
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, str(answer.reply)) == (Stage.RCPT, "550 5.1.1 no such user")
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered


@pytest.mark.parametrize("name", ["mail_refused_pipelined", "mail_refused"])
async def test_mail_refused_is_the_answer_for_every_recipient(
    dialog: Start, connect: Any, name: str
):
    server = await dialog(name)
    session = await connect(server)
    answers = await transact(session, TWO, MESSAGE)
    assert [str(answer.reply) for answer in answers] == ["451 4.7.1 slow down"] * 2
    assert {answer.stage for answer in answers} == {Stage.MAIL}
    assert session.usable


@pytest.mark.parametrize("name", ["rset_refused_pipelined", "rset_refused"])
async def test_server_that_does_not_know_rset_refuses_no_message_by_that(
    dialog: Start, connect: Any, name: str
):
    server = await dialog(name)
    session = await connect(server)
    await transact(session, ONE, MESSAGE)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, answer.reply, answer.fault) == (Stage.MAIL, None, Fault.DROPPED)
    assert "502 5.5.1" in answer.detail
    assert not session.usable
    session.quit()
    await server.finished()


async def test_data_refused_is_the_answer_of_accepted_recipients_only(dialog: Start, connect: Any):
    server = await dialog("data_refused")
    first, second = await transact(await connect(server), TWO, MESSAGE)
    assert (first.stage, first.reply and first.reply.code) == (Stage.RCPT, 550)
    assert (second.stage, second.reply and second.reply.code) == (Stage.DATA, 452)


async def test_bare_lf_and_dots_are_sent_canonical_and_stuffed(dialog: Start, connect: Any):
    server = await dialog("message_taken")
    (answer,) = await transact(
        await connect(server),
        ONE,
        [b"Subject: x\n\n", memoryview(b".dot\r\n.\r\n\r\nMAIL FROM:<x>")],
    )
    assert answer.is_delivered
    assert server.messages == [b"Subject: x\r\n\r\n..dot\r\n..\r\n\r\nMAIL FROM:<x>\r\n.\r\n"]
