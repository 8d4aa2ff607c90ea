"""Connections that end, or stand still, while a message is on its way."""

import asyncio
from dataclasses import replace
from typing import Any

from postroad_smtp.client.commands import Envelope, Rcpt
from postroad_smtp.client.session import Timeouts
from postroad_smtp.client.stage import Fault, Stage
from postroad_smtp.client.transaction import transact
from postroad_testing.dialogserver import Start

PATIENT = Timeouts(connect=60, greeting=60, command=60, block=60, dot=60)
ONE = Envelope("a@b.test", (Rcpt("c@d.test"),), size=20)
TWO = Envelope("a@b.test", (Rcpt("c@d.test"), Rcpt("e@d.test")), size=20)
MESSAGE = (b"Subject: x\r\n\r\nhello\r\n",)


async def test_connection_lost_after_the_final_dot_is_unknown(dialog: Start, connect: Any):
    server = await dialog("lost_after_the_final_dot")
    session = await connect(server)
    (answer,) = await transact(session, ONE, MESSAGE)
    assert (answer.stage, answer.fault, answer.reply) == (Stage.DOT, Fault.DROPPED, None)
    assert not answer.is_delivered
    assert not session.usable


async def test_large_message_cut_off_in_the_middle_is_not_unknown(dialog: Start, connect: Any):
    server = await dialog("reset_within_the_message")
    session = await connect(server)
    (answer,) = await transact(
        session, ONE, [b"Subject: x\r\n\r\n"] + [b"x" * 70 + b"\r\n"] * 500_000
    )
    assert (answer.stage, answer.fault) == (Stage.DATA, Fault.DROPPED)


async def test_server_that_stops_reading_is_a_timeout_however_long_its_commands_may_take(
    dialog: Start,
    connect: Any,
):
    server = await dialog("nothing_read_after_354")
    session = await connect(
        server, timeouts=replace(PATIENT, greeting=3600, command=3600, block=0.2)
    )
    async with asyncio.timeout(90):
        (answer,) = await transact(session, ONE, [bytes(4_000_000), bytes(4_000_000)])
    assert (answer.stage, answer.fault) == (Stage.DATA, Fault.TIMEOUT)


async def test_large_message_refused_in_the_middle_keeps_the_reply(dialog: Start, connect: Any):
    server = await dialog("refused_within_the_message")
    session = await connect(server)
    (answer,) = await transact(session, ONE, [bytes(4_000_000), bytes(4_000_000)])
    assert answer.reply is not None
    assert str(answer.reply) == "552 5.3.4 too large after all"
    assert not session.usable


async def test_connection_lost_between_rcpt_replies_keeps_what_was_answered(
    dialog: Start, connect: Any
):
    server = await dialog("lost_between_replies_to_rcpt")
    first, second = await transact(await connect(server), TWO, MESSAGE)
    assert (first.stage, first.reply and first.reply.code) == (Stage.RCPT, 550)
    assert (second.stage, second.fault) == (Stage.RCPT, Fault.DROPPED)
