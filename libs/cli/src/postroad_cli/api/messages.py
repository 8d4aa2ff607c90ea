"""`postroad messages`: finds mail."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.rows import fetch, show_rows
from postroad_cli.options import json_option
from postroad_stack.rest import RestClient


@click.command()
@click.option("--recipient", default=None)
@click.option("--tag", default=None)
@click.option("--state", "in_state", default=None, help="Such as queued, deferred, delivered.")
@click.option("--limit", default=25, show_default=True, help="Rows at most, newest first.")
@json_option
@with_api
def messages(api: RestClient, /, *, limit: int, as_json: bool, **filters: str | None) -> None:
    """Find messages."""
    filters["state"] = filters.pop("in_state")
    query = {name: value for name, value in filters.items() if value}
    rows = list(fetch(api, "/v1/messages", limit=limit, **query))
    columns = ("id", "state", "envelope", "recipient", "subject", "created")
    show_rows(rows, columns, as_json=as_json)
