"""`postroad backup` and `postroad restore`: the database as files, and back."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import click

from postroad_cli.options import F, state_dir_option
from postroad_cli.terminal import echo
from postroad_common.errors import StoreAway
from postroad_common.store.backup import Backup, BackupError
from postroad_stack.errors import StackError
from postroad_stack.state_dir import StateDir


def _options(command: F) -> F:
    """Add what both commands take."""
    uri = click.option(
        "--uri",
        envvar="POSTROAD_MONGODB_URI",
        help="The database; that of the stack in the state dir where it is not given.",
    )
    folder = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
    return folder(uri(state_dir_option(command)))


@click.command()
@_options
def backup(*, folder: Path, uri: str | None, state: StateDir) -> None:
    """Write the whole database into FOLDER, as it is at one moment; mail flows on.

    The files are those of `mongodump --gzip`.
    """
    _run("written", lambda found: found.dump(), _database(uri, state), folder)


@click.command()
@_options
def restore(*, folder: Path, uri: str | None, state: StateDir) -> None:
    """Put the database of a backup back; what is there already stays as it is."""
    _run("restored", lambda found: found.restore(), _database(uri, state), folder)


def _database(uri: str | None, state: StateDir) -> str:
    if uri:
        return uri
    status = state.read_status()
    if status is None or status.document is None or not state.supervised():
        raise StackError(
            f"no stack runs in {state.root}",
            advice="name the database: --uri, or POSTROAD_MONGODB_URI",
        )
    return status.document.mongodb


def _run(
    done: str,
    act: Callable[[Backup], Coroutine[Any, Any, Mapping[str, int]]],
    uri: str,
    folder: Path,
) -> None:
    try:
        counts = asyncio.run(act(Backup(uri, folder)))
    except (BackupError, StoreAway) as error:
        raise StackError(str(error)) from None
    for name, count in counts.items():
        echo(f"{count:>10}  {name}")
    echo(f"{sum(counts.values()):>10}  documents {done}")
