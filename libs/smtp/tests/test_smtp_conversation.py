"""The conversation of an attempt as the timeline shows it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.reply import Reply
from postroad_smtp.client import conversation
from postroad_smtp.client.commands import Envelope, Rcpt
from postroad_smtp.client.conversation import Conversation, bounded, of_server
from postroad_smtp.client.session import (
    SmarthostLogin,
    Timeouts,
)
from postroad_smtp.client.stage import WireError
from postroad_smtp.client.transaction import transact
from postroad_testing.dialogserver import Start

PATIENT = Timeouts(connect=60, greeting=60, command=60, block=60, dot=60)
ONE = Envelope("a@b.test", (Rcpt("c@d.test"),), size=20)
MESSAGE = (b"Subject: x\r\n\r\nhello\r\n",)


async def test_first_message_tells_the_opening_and_the_next_one_only_where_it_went(
    dialog: Start, connect: Any
):
    session = await connect(await dialog("two_messages_in_words"), host="mx.test")
    await transact(session, ONE, MESSAGE)
    head, *lines = session.told(0).split("\n")
    assert head.startswith("# connected to mx.test (127.0.0.1) since 20")
    said = [
        "C: MAIL FROM:<a@b.test>",
        "S: 250 2.1.0 sender ok",
        "C: RCPT TO:<c@d.test>",
        "S: 250 2.1.5 recipient ok",
        "C: DATA",
        "S: 354 go",
        "C: (message, 20 octets)",
        "S: 250 2.0.0 queued as 1",
    ]
    opening = ["S: 220 mx.test ready", "C: EHLO me.test", "S: 250-mx.test", "S: 250 PIPELINING"]
    assert lines == opening + said
    await transact(session, ONE, MESSAGE)
    head, *lines = session.told(0).split("\n")
    assert head.startswith("# message 2 on the connection to mx.test (127.0.0.1) since 20")
    assert lines == said


async def test_each_recipient_reads_its_own_answer_and_how_many_others_there_were(
    dialog: Start, connect: Any
):
    server = await dialog("one_recipient_of_three_refused")
    session = await connect(server, host="mx.test")
    names = ("one@d.test", "two@d.test", "three@d.test", "not\r\nsendable@d.test")
    await transact(session, Envelope("", tuple(Rcpt(name) for name in names), 20), MESSAGE)
    told = [session.told(number) for number in range(4)]
    assert "C: RCPT TO:<two@d.test>\nS: 550 5.1.1 unknown\n# 2 other recipients" in told[1]
    assert "# 2 other recipients in this transaction, 1 accepted\nC: DATA" in told[0]
    for number, text in enumerate(told):
        for name in names:
            assert (name in text) == (name == names[number] and number < 3)
    assert told[3].endswith("# this recipient was not offered")
    assert "# 3 other recipients in this transaction, 2 accepted\n" in told[3]


async def test_lost_connection_leaves_commands_without_an_answer_and_says_so(
    dialog: Start, connect: Any
):
    session = await connect(await dialog("lost_after_the_reply_to_mail"), host="mx.test")
    await transact(session, ONE, MESSAGE)
    assert session.told(0).split("\n")[-5:] == [
        "C: MAIL FROM:<a@b.test>",
        "S: 250 2.1.0 sender ok",
        "C: RCPT TO:<c@d.test>",
        "C: DATA",
        "# connection closed by the server",
    ]


async def test_message_that_the_server_cannot_take_shows_what_it_offered(
    dialog: Start, connect: Any
):
    session = await connect(await dialog("size_10_offered"), host="mx.test")
    await transact(session, ONE, MESSAGE)
    lines = session.told(0).split("\n")
    assert "S: 250 SIZE 10" in lines
    assert lines[-1].startswith("# 552 5.3.4 the message has 20 octets")


@pytest.mark.parametrize("mechanism", ["plain", "login"])
async def test_credentials_are_not_in_the_conversation(dialog: Start, connect: Any, mechanism: str):
    server = await dialog(f"auth_{mechanism}_refused")
    with pytest.raises(WireError) as caught:
        await connect(server, host="mx.test", login=SmarthostLogin("me", "secret"))
    said = caught.value.said
    assert "(credentials)" in said
    assert said.endswith("S: 535 5.7.8 no")
    for secret in ("AG1lAHNlY3JldA==", "c2VjcmV0", "bWU=", "secret"):
        assert secret not in said


def test_long_replies_are_cut_and_the_end_of_a_long_conversation_is_kept():
    reply = Reply(250, "", "\n".join(["y" * 2000] * 100))
    text = of_server(reply)
    assert "# 59 more lines" in text
    assert all(len(line) <= conversation.MOST_LINE for line in text.split("\n"))
    whole = Conversation([0], [b"MAIL\r\n"], [reply, Reply(550, "5.0.0", "the end")])
    told = whole.of(0, "# " + "z" * 5000)
    assert len(told) <= conversation.MOST + 20
    assert told.endswith("S: 550 5.0.0 the end")


@given(st.text(), st.text())
def test_every_line_says_whose_it_is_whatever_is_in_it(command: str, end: str):
    said = Conversation([0], [command.encode("utf-8", "replace") + b"\r\n"], [], end)
    lines = said.of(0, "# opening").split("\n")
    assert len(lines) == 2 + bool(end)
    assert all(line[:2] in {"C:", "# "} and line.isprintable() for line in lines)


@given(st.lists(st.sampled_from(["C: a", "S: 250 bbb", "# c"]), max_size=60), st.integers(30, 200))
def test_bounded_text_has_whole_lines_only(lines: list[str], most: int):
    text = bounded("\n".join(lines), most)
    assert len(text) <= most + 15
    assert set(text.split("\n")) <= {"C: a", "S: 250 bbb", "# c", "# (left out)", ""}
