"""`postroad events`: what happened to mail."""

from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.rows import fetch, show_rows
from postroad_cli.moments import Moment
from postroad_cli.options import json_option
from postroad_stack.rest import RestClient

_TOLD = ("reply", "reason", "url", "class", "ip")


@click.command()
@click.option("--message", default=None, help="Id of one message.")
@click.option("--recipient", default=None)
@click.option("--tag", default=None)
@click.option("--event", default=None, help="Such as delivered, deferred, bounced, clicked.")
@click.option(
    "--start", "--since", type=Moment(), default=None, help="Such as 2h, yesterday, 2027-03-01."
)
@click.option("--end", "--until", type=Moment(), default=None, help="As --start.")
@click.option("--limit", default=50, show_default=True, help="Rows at most, newest first.")
@json_option
@with_api
def events(api: RestClient, /, *, limit: int, as_json: bool, **filters: str | None) -> None:
    """Find events."""
    query = {name: value for name, value in filters.items() if value}
    rows = list(fetch(api, "/v1/events", limit=limit, **query))
    if not as_json:
        rows = [{**row, "what": _told(row["data"])} for row in rows]
    show_rows(rows, ("time", "event", "message", "what"), as_json=as_json)


def _told(data: dict[str, Any]) -> str:
    return next((str(data[name]) for name in _TOLD if data.get(name)), "-")
