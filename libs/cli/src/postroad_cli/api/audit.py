"""`postroad audit`: who changed what."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.rows import fetch, show_rows
from postroad_cli.moments import Moment
from postroad_cli.options import json_option
from postroad_stack.rest import RestClient


@click.command()
@click.option("--noun", default=None, help="Of this kind, such as credentials.")
@click.option("--target", default=None, help="Of this thing, by its name or id.")
@click.option("--actor", default=None, help="By this user (address) or token (id).")
@click.option(
    "--start", "--since", type=Moment(), default=None, help="Such as 2h, yesterday, 2027-03-01."
)
@click.option("--end", "--until", type=Moment(), default=None, help="As --start.")
@click.option("--limit", default=25, show_default=True, help="Rows at most, newest first.")
@json_option
@with_api
def audit(api: RestClient, /, *, limit: int, as_json: bool, **filters: str | None) -> None:
    """Show who changed what, when and from where.

    With --json also how it was before and after.
    """
    query = {name: value for name, value in filters.items() if value}
    rows = [
        {**row, "who": row["actor"]["id"], "from": row["actor"]["address"]}
        for row in fetch(api, "/v1/audit", limit=limit, **query)
    ]
    show_rows(rows, ("time", "who", "from", "action", "target"), as_json=as_json)
