"""The `postroad` command itself: runs a subcommand, and says what went wrong."""

import os
import sys

import click

from postroad_cli.commands import Subcommands
from postroad_cli.terminal import echo, show_error
from postroad_stack.errors import RestError, StackError


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="postroad-cli", prog_name="postroad")
def postroad() -> None:
    """Run and administer Postroad.

    `up`, `down`, `status` and `demo` work on a whole Postroad on this machine. The other commands
    speak to the REST API of any deployment: POSTROAD_URL and POSTROAD_TOKEN name it; without them
    it is the stack that runs in the state dir.
    """


def main() -> None:
    """Run the command; known errors end in a message and exit code 1, never in a traceback."""
    try:
        # What a command ends with (`click.exceptions.Exit`) comes back as its code.
        sys.exit(postroad(standalone_mode=False) or 0)
    except click.Abort:
        echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (StackError, RestError) as error:
        show_error(error)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
