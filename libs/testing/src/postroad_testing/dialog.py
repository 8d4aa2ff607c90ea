r"""SMTP conversations as text: the language of the `.dialog` files, whose names say what holds.

A step a line. Its first word is the name of a client, so that several can take part; the arrow
says who speaks to whom, whichever side is played here:

    c -> text           the client sends this line
    c => octets         the client sends octets; \r \n \0 \xHH mean what they do in Python
    c ~> text           the client sends a line that starts so
    c content           the client sends a message up to its final dot, which is kept
    c part 1000         the client sends at least so many octets of one
    c <- text           the server sends this line
    c <= octets         the server sends octets
    c <~ text           the server sends a reply whose last line starts so
    c <+ expression     the server sends a line that this regular expression matches
    c tls               both begin the TLS handshake
    c gone              the client closes the connection
    c closed            the server closes it
    c reset             the server resets it
    c silence           the server says and reads nothing from now on

`dialogclient` plays the clients against a server, `dialogserver` a server against one; each knows
the steps that its side can do or check, and some of its own. `{name}` is a variable, `{x*9}` stands
for nine x, and `include name` for the steps of another file of the folder. Comments before the
first step may be settings, as `# name: value`.
"""

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_REPEAT = re.compile(r"\{(.)\*(\d+)\}")


@dataclass(frozen=True)
class DialogStep:
    """One line of a dialog; `place` is its file and line."""

    place: str
    client: str
    verb: str
    text: str

    def __str__(self) -> str:
        """Return the line with its place, cut to what one reads."""
        return f"{self.place}: {self.client} {self.verb} {self.text}"[:300]

    @property
    def octets(self) -> bytes:
        """The text with its escapes resolved."""
        return codecs.escape_decode(self.text.encode())[0]


@dataclass(frozen=True)
class Dialog:
    """The steps in their order, and the settings before them as (name, value)."""

    steps: tuple[DialogStep, ...]
    settings: tuple[tuple[str, str], ...] = ()


def read_dialog(path: Path, variables: Mapping[str, str] | None = None) -> Dialog:
    """Read a file, with `variables` in the steps.

    Raises:
        ValueError: a line is no step.
    """
    settings: list[tuple[str, str]] = []
    steps = _steps(path, variables or {}, settings)
    return Dialog(tuple(steps), tuple(settings))


def _steps(
    path: Path, variables: Mapping[str, str], settings: list[tuple[str, str]]
) -> list[DialogStep]:
    steps: list[DialogStep] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        place = f"{path.name}:{number}"
        if line.startswith("#"):
            name, colon, value = line.removeprefix("#").strip().partition(": ")
            if colon and not steps:
                settings.append((name, value))
        elif line.startswith("include "):
            other = path.with_name(f"{line.removeprefix('include ').strip()}.dialog")
            steps += _steps(other, variables, settings)
        elif line:
            client, space, rest = line.partition(" ")
            if not space:
                raise ValueError(f"{place}: not a step: {line}")
            verb, _, text = rest.partition(" ")
            steps.append(DialogStep(place, client, verb, _fill(text, variables)))
    return steps


def _fill(text: str, variables: Mapping[str, str]) -> str:
    text = _REPEAT.sub(lambda match: match[1] * int(match[2]), text)
    for name, value in variables.items():
        text = text.replace("{" + name + "}", value)
    return text
