"""What the command prints: the only module that writes to the terminal.

Subjects, replies and log lines come from strangers. A control character in one of them could move
the cursor, rename the window or hide text, so each is replaced by U+FFFD (in JSON: escaped) before
any colour is added.
"""

import json
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from postroad_stack.errors import RestError, StackError, StartFailedError

if TYPE_CHECKING:
    from postroad_cli.console import Console

# C0 without tab and line feed, DEL, C1, and what changes the direction of text (Unicode TR36, 3.2).
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def scrub(text: str) -> str:
    """Return the text with every control character but tab and line feed replaced."""
    return _CONTROLS.sub(_REPLACEMENT, text)


def echo(text: str = "", *, err: bool = False, **style: Any) -> None:
    """Print text and a line end, scrubbed; `style` is click's (`fg`, `bold`, `dim`)."""
    click.secho(scrub(text), err=err, **style)


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """Print JSON on stdout; control characters are escaped, so that no value is changed."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    click.echo(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def echo_file(pieces: Iterable[str]) -> None:
    """Print a file on stdout as it arrives: to a program each octet, to a terminal scrubbed.

    No piece ends between CR and LF.
    """
    to_terminal = sys.stdout.isatty()
    for piece in pieces:
        text = scrub(piece.replace("\r\n", "\n")) if to_terminal else piece
        click.echo(text, nl=False)


def error_console() -> "Console":
    """Return a console on stderr, where progress goes, so that stdout stays for results."""
    return console(stderr=True)


def console(*, stderr: bool = False) -> "Console":
    """Return a console for colours and tables, whose text is scrubbed."""
    from postroad_cli.console import Console  # noqa: PLC0415 -- rich takes 60 ms to import

    return Console(stderr=stderr, highlight=False)


def show_error(error: StackError | RestError) -> None:
    """Say on stderr what went wrong, the log lines that tell why, and what to do."""
    mark = click.style("✗ ", fg="red", bold=True)
    click.echo(mark + click.style(scrub(str(error)), bold=True), err=True)
    if isinstance(error, StartFailedError) and error.failure.tail:
        echo(f"  last lines of {error.failure.log}:", err=True, dim=True)
        for line in error.failure.tail:
            echo(f"  │ {line}", err=True)
    if isinstance(error, StackError) and error.advice:
        echo(f"  → {error.advice}", err=True)
    if isinstance(error, RestError) and error.status == 0:
        echo("  → is it running? see: postroad status", err=True)
