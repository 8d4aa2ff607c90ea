"""What strangers wrote cannot act on the operator's terminal."""

import json
import re
from pathlib import Path

import click
import pytest
from rich.table import Table
from rich.text import Text

import postroad_cli
from postroad_cli.terminal import console, echo, echo_json, show_error
from postroad_stack.errors import RestError, StartFailedError
from postroad_stack.status import Failure

# Renames the window, clears the screen, moves the cursor (C1), overwrites the line, turns it round.
HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\x9b1Ad\re\u202ef"
HARMLESS = "a�]0;owned�b�[2Jc�1Ad�e�f"
FAILURE = Failure(process="x", reason=HOSTILE, log=f"/{HOSTILE}", tail=(HOSTILE,), advice=HOSTILE)


def acts(text: str) -> list[str]:
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_control_characters_are_replaced_in_lines_and_tables(capsys: pytest.CaptureFixture[str]):
    echo(HOSTILE)
    table = Table(HOSTILE)
    table.add_row(Text(HOSTILE))
    screen = console()
    screen.print(table)
    screen.print(HOSTILE, soft_wrap=True)
    said = capsys.readouterr().out
    assert said.count("a�]0;owned") == 4  # rich itself removes some of the others
    assert acts(said) == []


@pytest.mark.parametrize("error", [StartFailedError(FAILURE), RestError(500, "x", HOSTILE)])
def test_control_characters_are_replaced_in_errors(
    error: StartFailedError | RestError, capsys: pytest.CaptureFixture[str]
):
    show_error(error)
    said = capsys.readouterr().err
    assert HARMLESS in said
    assert acts(said) == []


def test_control_characters_are_escaped_in_json_and_the_value_stays(
    capsys: pytest.CaptureFixture[str],
):
    echo_json({HOSTILE: [HOSTILE, "é\t\n"]})
    said = capsys.readouterr().out
    assert acts(said) == []
    assert json.loads(said) == {HOSTILE: [HOSTILE, "é\t\n"]}


def test_own_colours_are_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    console().print(Text("yes", style="green"))
    assert "\x1b[32myes" in capsys.readouterr().out


def test_no_other_module_writes_to_the_terminal():
    folder = Path(postroad_cli.__file__).parent
    writes = re.compile(
        r"\bclick\.s?echo\(|\bprint\(|rich\.console import .*\bConsole\b|sys\.std(out|err)\.write"
    )
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if writes.search(re.sub(r"\.print\(", "", path.read_text()))
    }
    assert found == {"terminal.py"}
    assert click.secho  # the name that the pattern looks for exists
