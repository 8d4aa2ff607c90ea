"""`postroad suppressions`: addresses that get no mail."""

import csv
import sys
from http import HTTPStatus
from typing import TextIO

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, add_show, path
from postroad_cli.api.rows import fetch, show_one
from postroad_cli.options import json_option
from postroad_cli.terminal import echo, scrub
from postroad_stack.errors import RestError
from postroad_stack.rest import RestClient

_COLUMNS = ("address", "kind", "reason", "expires")


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


@suppressions.command("export")
@with_api
def export_suppressions(api: RestClient, /) -> None:
    """Print all as CSV: address, kind, reason, expires (Unix seconds)."""
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for row in fetch(api, path("suppressions"), limit=sys.maxsize):
        rows.writerow([scrub(str(row.get(name) or "")) for name in _COLUMNS])


@suppressions.command("import")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@with_api
def import_suppressions(api: RestClient, /, *, file: TextIO) -> None:
    """Suppress the addresses in the first column of a CSV FILE; - is stdin.

    A column with the title `reason` becomes the reason. Lines that are refused are told, and the
    exit code is then 1.
    """
    done = refused = 0
    titles: list[str] = []
    for number, row in enumerate(csv.reader(file), 1):
        if number == 1 and "@" not in "".join(row[:1]):
            titles = [title.strip().lower() for title in row]
            continue
        if not row or not row[0].strip():
            continue
        found = dict(zip(titles, row, strict=False))
        body = {"address": found.get("address", row[0]).strip()}
        if found.get("reason"):
            body["reason"] = found["reason"]
        try:
            api.post(path("suppressions"), body)
            done += 1
        except RestError as error:
            if error.status in {0, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                raise
            refused += 1
            echo(f"line {number}: {error}", err=True)
    echo(f"{done} suppressed, {refused} refused")
    if refused:
        raise click.exceptions.Exit(1)


add_delete(suppressions, "suppressions", "ADDRESS")
