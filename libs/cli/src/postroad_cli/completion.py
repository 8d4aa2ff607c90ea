"""`postroad completion`: what makes a shell complete subcommands and options."""

import click
from click.shell_completion import get_completion_class

from postroad_cli.terminal import echo


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh"]))
@click.pass_context
def completion(context: click.Context, /, *, shell: str) -> None:
    """Print what makes SHELL complete commands: eval "$(postroad completion bash)"."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    echo(kind(context.find_root().command, {}, "postroad", "_POSTROAD_COMPLETE").source())
