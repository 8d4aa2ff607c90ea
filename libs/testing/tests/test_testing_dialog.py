"""The two sides of a dialog play it with each other, and each sees when the other does not."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from postroad_testing.certificates import self_signed
from postroad_testing.dialog import Dialog, read_dialog
from postroad_testing.dialogclient import play
from postroad_testing.dialogserver import DialogServer
from postroad_testing.lineclient import LineClient

WHOLE = r"""
# limits: {"size": 3}
c connect
include greeting
c -> STARTTLS
c <- 220 go
c tls
# a remark
c -> NOOP {name} {x*9}
c => NO
c => OP\r\n
c <- 250-one
c <- 250 two
c closed
"""

Write = Callable[[str], Dialog]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    (tmp_path / "greeting.dialog").write_text("c <- 220 here\n")

    def written(text: str) -> Dialog:
        (tmp_path / "whole.dialog").write_text(text)
        return read_dialog(tmp_path / "whole.dialog", {"name": "ann"})

    return written


async def played(server: DialogServer, dialog: Dialog) -> None:
    """Play the client's side on a thread, and the server's in this loop."""
    openers = {"connect": lambda _: LineClient(server.port)}
    async with server:
        await asyncio.to_thread(play, dialog, openers)
        await server.finished()


def test_settings_variables_repetitions_and_other_files_are_read(write: Write):
    dialog = write(WHOLE)
    assert dialog.settings == (("limits", '{"size": 3}'),)
    assert [str(step) for step in dialog.steps[1:3]] == [
        "greeting.dialog:1: c <- 220 here",
        "whole.dialog:5: c -> STARTTLS",
    ]
    assert dialog.steps[5].text == "NOOP ann xxxxxxxxx"


def test_line_that_is_no_step_is_refused_with_its_place(write: Write):
    with pytest.raises(ValueError, match=r"whole\.dialog:2: not a step: nonsense"):
        write("c connect\nnonsense\n")


async def test_both_sides_play_a_dialog_to_its_end(write: Write, tmp_path: Path):
    dialog = write(WHOLE)
    heard = [step for step in dialog.steps[1:] if step.verb != "=>"]
    heard[5:5] = write("c -> NOOP\n").steps  # which the client sends in two pieces
    context = self_signed(tmp_path / "server.pem").context()
    await played(DialogServer(Dialog(tuple(heard)), context), dialog)


async def test_client_sees_what_the_server_says_otherwise(write: Write):
    server = DialogServer(write("c <- 220-here\nc <- 220 there\nc closed\n"))
    with pytest.raises(AssertionError, match=r"(?s)whole\.dialog:2: c <~ 554.*220 there"):
        await played(server, write("c connect\nc <~ 554\n"))


async def test_server_sees_what_the_client_says_otherwise(write: Write):
    server = DialogServer(write("c ~> MAIL\nc gone\n"))
    with pytest.raises(AssertionError, match=r"(?s)whole\.dialog:1: c ~> MAIL.*got 'RCPT'"):
        await played(server, write("c connect\nc -> RCPT\nc gone\n"))


async def test_server_keeps_messages_with_their_final_dot(write: Write):
    server = DialogServer(write("c content\nc <= 250 o\nc <= k\\r\\n\nc gone\n"))
    await played(server, write("c connect\nc => Subject: x\\r\\n..\\r\\n.\\r\\n\nc <- 250 ok\n"))
    assert server.messages == [b"Subject: x\r\n..\r\n.\r\n"]


async def test_client_that_floods_reads_the_421(write: Write):
    server = DialogServer(write("c part 50\nc <- 250 ok\nc <- 421 enough\nc closed\n"))
    await played(server, write("c connect\nc flood NOOP\nc <~ 421\n"))
