"""`postroad stats`: numbers per hour, day or week."""

from typing import Any

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
@click.option("--login", default=None, help="Only mail of this login or token.")
@click.option("--domain", default=None, help="Only mail from this sender domain.")
@click.option("--provider", default=None, help="Only mail to this receiving provider.")
@click.option(
    "--step",
    type=click.Choice(["hour", "day", "week"]),
    default=None,
    help="Hours are kept for 14 days; days without it.",
)
@click.option(
    "--by",
    type=click.Choice(["tag", "login", "domain", "provider"]),
    default=None,
    help="The sums of each, instead of a line per day.",
)
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
    """Show numbers per hour, day or week, of all mail or of a part of it."""
    found = api.get("/v1/stats", **{name: value for name, value in filters.items() if value})
    if as_json:
        echo_json(found)
        return
    first, lines = _lines(found)
    rows = [
        {first: name, **{column: counts.get(column, 0) for column in _COLUMNS}}
        for name, counts in (*lines, ("together", found["totals"]))
    ]
    show_rows(rows, (first, *_COLUMNS), as_json=False)


def _lines(found: dict[str, Any]) -> tuple[str, list[tuple[str, dict[str, int]]]]:
    """Return what the first column is called, and the lines: its text and their counts."""
    for first, key, name in (("name", "groups", "name"), ("hour", "hours", "hour")):
        if key in found:
            return first, [(one[name], one["counts"]) for one in found[key]]
    return "day", [(one["day"], one["counts"]) for one in found["days"]]
