"""Options that several subcommands share."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from postroad_stack.state_dir import DEFAULT, StateDir

F = TypeVar("F", bound=Callable[..., Any])


def state_dir_option(command: F) -> F:
    """Add `--state-dir`, given to the command as a `StateDir` named `state`."""
    return click.option(
        "--state-dir",
        "state",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="POSTROAD_STATE_DIR",
        default=DEFAULT,
        show_default=True,
        callback=lambda _context, _parameter, value: StateDir(value),
        help="Folder with everything of one stack.",
    )(command)


def confirmed(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:  # noqa: FBT001
    """Ask before a command that destroys something, where somebody is there to answer.

    Raises:
        click.Abort: the answer is no.
    """
    if not value and not context.resilient_parsing and sys.stdin.isatty():
        what = " ".join(str(name) for name in context.params.values() if isinstance(name, str))
        click.confirm(f"{context.info_name} {what}?".replace(" ?", "?"), abort=True, err=True)
    return value


def ask(question: str) -> None:
    """Ask before what cannot be undone; a script has to say that it means it.

    Raises:
        click.Abort: the answer is no.
        click.UsageError: nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Add --yes.")
    click.confirm(question, abort=True, err=True)


def yes_option(command: F) -> F:
    """Add `--yes`, which answers the question that a destructive command asks on a terminal."""
    return click.option(
        "--yes", is_flag=True, callback=confirmed, expose_value=False, help="Do not ask."
    )(command)


def json_option(command: F) -> F:
    """Add `--json`, given to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
