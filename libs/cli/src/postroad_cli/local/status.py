"""`postroad status`: what runs on this machine."""

import shlex
import time

import click
from rich.table import Table
from rich.text import Text

from postroad_cli.local.addresses import show_addresses
from postroad_cli.options import state_dir_option
from postroad_cli.terminal import console, echo, echo_json
from postroad_cli.times import age
from postroad_stack.errors import StackError
from postroad_stack.state_dir import StateDir
from postroad_stack.status import ProcessState, ProcessStatus, StackStatus


@click.command()
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print the stack document, with secrets.")
@click.option("--secrets", is_flag=True, help="Show passwords and the token, too.")
@click.option(
    "--env",
    "as_environment",
    is_flag=True,
    help='Print POSTROAD_URL and POSTROAD_TOKEN for a shell: eval "$(postroad status --env)".',
)
def status(*, state: StateDir, as_json: bool, secrets: bool, as_environment: bool) -> None:
    """Show what runs, since when, and how often it was started again."""
    found = state.read_status() if state.supervised() else None
    if found is None:
        raise StackError(f"no stack runs in {state.root}", advice="start one: postroad up")
    if as_json or as_environment:
        if found.document is None:
            raise StackError(
                f"the stack is {found.phase}",
                advice="try again when `postroad status` shows it ready",
            )
        if as_json:
            echo_json(found.document.fields(), indent=None)
        else:
            echo(f"export POSTROAD_URL={shlex.quote(found.document.http or '')}")
            echo(f"export POSTROAD_TOKEN={shlex.quote(found.document.token or '')}")
        return
    _show_processes(found)
    if found.document is not None:
        echo()
        show_addresses(found.document, secrets=secrets)


def _show_processes(status: StackStatus) -> None:
    """Print the table of processes and the notices."""
    screen = console()
    table = Table(box=None, pad_edge=False)
    for column in ("process", "state", "pid", "up", "restarts", ""):
        table.add_column(column, justify="right" if column in {"pid", "restarts"} else "left")
    for process in status.processes:
        style = {"ready": "green", "down": "red"}.get(process.state, "yellow")
        table.add_row(
            process.label,
            Text(process.state, style=style),
            str(process.pid or "-"),
            _up(process),
            str(process.restarts),
            Text(process.note, style="dim"),
        )
    screen.print(table)
    for notice in status.notices:
        screen.print(Text(f"note: {notice}"))


def _up(process: ProcessStatus) -> str:
    if process.started is None or process.state is ProcessState.STOPPED:
        return "-"
    return age(max(0, int(time.time() - process.started)))
