"""`postroad prepare`: fetches what `up` needs."""

import click

from postroad_cli.local.options import ambient_settings, servers_option
from postroad_cli.local.progress import StartProgress
from postroad_cli.terminal import echo, error_console
from postroad_stack.servers.choose import Preference, choose_servers


@click.command()
@servers_option
def prepare(*, servers: str) -> None:
    """Fetch and install what `up` would, and say where RabbitMQ and MongoDB come from."""
    progress = StartProgress(error_console())
    try:
        broker, database = choose_servers(ambient_settings(), Preference(servers), progress.say)
    finally:
        progress.close()
    echo(f"RabbitMQ: {broker.words}")
    echo(f"MongoDB: {database.words}")
