"""`postroad down`: stops the stack on this machine."""

import click

from postroad_cli.options import state_dir_option
from postroad_cli.terminal import echo
from postroad_stack import launching
from postroad_stack.state_dir import StateDir


@click.command()
@state_dir_option
@click.option("--wipe", is_flag=True, help="Remove all data, too.")
def down(*, state: StateDir, wipe: bool) -> None:
    """Stop exactly what `up` started; services finish what they have in hand first."""
    had_data = state.exists()
    was_running = launching.stop(state, wipe=wipe)
    words = "stopped" if was_running else "nothing was running"
    removed = ", data removed" if had_data else f", and no stack is in {state.root}"
    echo(f"{words}{removed if wipe else ''}")
