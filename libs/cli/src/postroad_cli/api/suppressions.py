"""`postroad suppressions`: addresses that get no mail."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, add_show, path
from postroad_cli.api.rows import show_one
from postroad_cli.options import json_option
from postroad_stack.rest import RestClient


@click.group()
def suppressions() -> None:
    """Addresses that get no mail."""


add_list(suppressions, "suppressions", ("address", "kind", "reason", "created", "expires"))
add_show(suppressions, "suppressions", "ADDRESS")


@suppressions.command("create")
@click.argument("address")
@click.option("--reason", default=None, help="Why; for the people who read it later.")
@json_option
@with_api
def create_suppression(
    api: RestClient, /, *, address: str, reason: str | None, as_json: bool
) -> None:
    """Send nothing to an address any more."""
    body = {"address": address, **({"reason": reason} if reason else {})}
    show_one(api.post(path("suppressions"), body), as_json=as_json)


add_delete(suppressions, "suppressions", "ADDRESS")
