"""The `postroad` command.

`main` is the command itself and `commands` the list of its subcommands; `local` runs a stack on
this machine, `api` speaks to the REST API of any deployment, `demo` shows the life of a mail.
Everything that is printed goes through `terminal`.
"""

from postroad_cli.main import main

__all__ = ["main"]
