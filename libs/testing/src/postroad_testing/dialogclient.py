"""Plays the clients of a dialog against a server.

Beside the steps of every dialog it knows `c flood LINE` and `c trickle OCTETS`, which send again
and again until the server says 421. What opens a connection is for the test to say: `c connect`,
say, is a name in `openers`.
"""

import re
from collections.abc import Callable, Mapping

from postroad_testing.dialog import Dialog, DialogStep
from postroad_testing.lineclient import LineClient

Opener = Callable[[str], LineClient]

_FLOOD_SECONDS = 0.001
_TRICKLE_SECONDS = 0.02


def play(dialog: Dialog, openers: Mapping[str, Opener]) -> None:
    """Play all steps; `openers` make a client from the text of a step, by its verb.

    Raises:
        AssertionError: the server does not answer as in the dialog; the text has the step.
    """
    clients: dict[str, LineClient] = {}
    try:
        for step in dialog.steps:
            try:
                if step.verb in openers:
                    clients[step.client] = openers[step.verb](step.text)
                else:
                    _play(step, clients[step.client])
            except (AssertionError, OSError) as error:
                raise AssertionError(f"{step}\n{error!r}"[:2000]) from error
    finally:
        for client in clients.values():
            client.close()


def _play(step: DialogStep, client: LineClient) -> None:
    match step.verb:
        case "->":
            client.send(step.text.encode() + b"\r\n")
        case "=>":
            client.send(step.octets)
        case "<-":
            _demand(client.line(), step.text)
        case "<~":
            client.expect(step.text)
        case "<+":
            line = client.line()
            if not re.fullmatch(step.text, line):
                raise AssertionError(f"got {line!r}")
        case "tls":
            client.start_tls()
        case "closed":
            client.expect_close()
        case "gone":
            client.close()
        case "flood":
            client.repeat(step.text.encode() + b"\r\n", _FLOOD_SECONDS)
            while client.unread.startswith(b"250"):
                client.line()
        case "trickle":
            client.repeat(step.text.encode(), _TRICKLE_SECONDS)
        case _:
            raise AssertionError("a client cannot play this")


def _demand(line: str, wanted: str) -> None:
    if line != wanted:
        raise AssertionError(f"expected {wanted!r}, got {line!r}")
