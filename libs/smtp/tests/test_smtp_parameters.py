"""The parameters of MAIL and RCPT: which are sent, and what is refused before."""

from dataclasses import replace
from typing import Any

import pytest

from postroad_smtp.client.commands import Envelope, Rcpt
from postroad_smtp.client.transaction import transact
from postroad_testing.dialogserver import Start

ONE = Envelope("a@b.test", (Rcpt("c@d.test"),), size=20)
MESSAGE = (b"Subject: x\r\n\r\nhello\r\n",)


async def test_dsn_parameters_are_passed_on_per_recipient_where_dsn_is_offered(
    dialog: Start, connect: Any
):
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


async def test_dsn_parameters_stay_here_where_dsn_is_not_offered(dialog: Start, connect: Any):
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
    dialog: Start, connect: Any, envelope: Envelope, enhanced: str
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


async def test_8bit_content_is_declared_only_where_8bitmime_is_offered(dialog: Start, connect: Any):
    server = await dialog("8bit_without_8bitmime")
    body = ("Subject: é\r\n\r\né\r\n".encode(),)
    (answer,) = await transact(await connect(server), replace(ONE, eightbit=True), body)
    assert answer.is_delivered
    assert server.messages == [body[0] + b".\r\n"]
