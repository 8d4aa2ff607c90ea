"""Options that several subcommands share."""

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


def json_option(command: F) -> F:
    """Add `--json`, given to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
