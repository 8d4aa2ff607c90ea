"""`postroad stats`: numbers per day."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.rows import show_rows
from postroad_cli.moments import Moment
from postroad_cli.options import json_option
from postroad_cli.terminal import echo_json
from postroad_stack.rest import RestClient

_COLUMNS = ("accepted", "delivered", "deferred", "failed", "bounced", "opened", "clicked")


@click.command()
@click.option("--tag", default=None, help="Only mail with this tag.")
@click.option(
    "--start",
    "--since",
    type=Moment(utc=True),
    default=None,
    help="A day in UTC, such as yesterday, 7d, 2027-03-01; 30 days ago without it.",
)
@click.option(
    "--end", "--until", type=Moment(utc=True), default=None, help="As --start; today without it."
)
@json_option
@with_api
def stats(api: RestClient, /, *, as_json: bool, **filters: str | None) -> None:
    """Show numbers per day, of all mail or of one tag."""
    found = api.get("/v1/stats", **{name: value for name, value in filters.items() if value})
    if as_json:
        echo_json(found)
        return
    days = [{"day": one["day"], **one["counts"]} for one in found["days"]]
    total = {"day": "together", **found["totals"]}
    rows = [
        {"day": row["day"], **{name: row.get(name, 0) for name in _COLUMNS}}
        for row in (*days, total)
    ]
    show_rows(rows, ("day", *_COLUMNS), as_json=False)
