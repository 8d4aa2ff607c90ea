"""`postroad suppressions`: addresses that get no mail."""

from typing import TextIO

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, add_show, path, without_none
from postroad_cli.api.rows import show_one
from postroad_cli.options import json_option
from postroad_cli.terminal import echo, echo_file
from postroad_stack.rest import RestClient

_AT_ONCE = 2000  # lines of one request


@click.group()
def suppressions() -> None:
    """Addresses that get no mail."""


add_list(suppressions, "suppressions", ("address", "kind", "list", "reason", "created", "expires"))
add_show(suppressions, "suppressions", "ADDRESS")


@suppressions.command("create")
@click.argument("address")
@click.option("--reason", default=None, help="Why; for the people who read it later.")
@click.option("--list", "list_name", default=None, help="Only for mail of this list.")
@json_option
@with_api
def create_suppression(
    api: RestClient,
    /,
    *,
    address: str,
    reason: str | None,
    list_name: str | None,
    as_json: bool,
) -> None:
    """Send nothing to an address, or with @example.com a domain, any more."""
    body = without_none({"address": address, "reason": reason, "list": list_name})
    show_one(api.post(path("suppressions"), body), as_json=as_json)


@suppressions.command("export")
@with_api
def export_suppressions(api: RestClient, /) -> None:
    """Print all as CSV, which `import` takes."""
    lines = api.pieces(path("suppressions", "export"))
    echo_file(piece.replace("\r\n", "\n") for piece in lines)


@suppressions.command("import")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@with_api
def import_suppressions(api: RestClient, /, *, file: TextIO) -> None:
    """Suppress the addresses of a CSV FILE; - is stdin.

    Its first line may name the columns: address, kind, list, reason, created, expires. Nothing
    that is there is weakened. Rows that are refused are told, and the exit code is then 1.
    """
    lines = file.read().splitlines()
    titles = lines[:1] if lines and lines[0].lower().startswith("address") else []
    refused = added = 0
    for at in range(len(titles), len(lines), _AT_ONCE):
        part = "\n".join([*titles, *lines[at : at + _AT_ONCE]])
        done = api.post(path("suppressions", "import"), {"csv": part})
        added += done["added"]
        refused += done["refused"]
        for problem in done["problems"]:
            row = at + problem["row"]
            echo(f"line {row}: {problem['address']}: {problem['message']}", err=True)
    echo(f"{added} suppressed, {refused} refused")
    if refused:
        raise click.exceptions.Exit(1)


add_delete(suppressions, "suppressions", "ADDRESS")
