"""The log: what libraries say in it of a mail."""

import subprocess
import sys

_CODE = """
import logging
from aiormq.abc import DeliveredMessage
from pamqp import commands, header
from postroad_common.logging import set_up

set_up("sender", "info", "json")
returned = DeliveredMessage(commands.Basic.Return(312), header.ContentHeader(), b"dear Bob", None)
log = logging.getLogger("aiormq.channel")
log.error("Unhandled message %r returning", returned)
log.error("Channel %r closed", 7)
"""


def test_message_that_a_library_logs_is_named_and_not_written_out():
    run = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True
    )
    first, second = run.stdout.splitlines()
    assert "Unhandled message 'DeliveredMessage' returning" in first
    assert "Bob" not in first
    assert "Channel 7 closed" in second
