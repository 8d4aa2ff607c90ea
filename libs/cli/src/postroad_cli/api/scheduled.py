"""`postroad scheduled`: mail that waits for its time."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_list, add_show, path
from postroad_cli.api.rows import show_one
from postroad_cli.moments import Moment
from postroad_cli.options import json_option, yes_option
from postroad_cli.terminal import echo
from postroad_stack.rest import RestClient


@click.group()
def scheduled() -> None:
    """Mail that waits for its time."""


add_list(scheduled, "scheduled", ("id", "sendat", "subject", "messages"))
add_show(scheduled, "scheduled", "ID")


@scheduled.command()
@click.argument("name", metavar="ID")
@click.argument("sendat", metavar="TIME", type=Moment("ahead"))
@json_option
@with_api
def move(api: RestClient, /, *, name: str, sendat: str, as_json: bool) -> None:
    """Send it at another time, such as 2h, 'tomorrow 9:00', now, '2027-03-01 14:00:00'."""
    show_one(api.patch(path("scheduled", name), {"sendat": sendat}), as_json=as_json)


@scheduled.command()
@click.argument("name", metavar="ID", is_eager=True)
@yes_option
@with_api
def cancel(api: RestClient, /, *, name: str) -> None:
    """Send it to nobody; with the id of a message, not to its recipient."""
    api.delete(path("scheduled", name))
    echo("cancelled")
