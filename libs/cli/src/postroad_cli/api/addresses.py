"""`postroad addresses`: what is stored of one address, shown or erased (GDPR)."""

from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import path
from postroad_cli.api.rows import show_one
from postroad_cli.options import json_option, yes_option
from postroad_cli.terminal import echo_json
from postroad_stack.rest import RestClient


@click.group()
def addresses() -> None:
    """Show or erase all that is stored of one address."""


@addresses.command("export")
@click.argument("address")
@with_api
def export_address(api: RestClient, /, *, address: str) -> None:
    """Print everything as JSON: its suppression, and all messages with their events."""
    whole: dict[str, Any] = api.get(path("addresses", address))
    while cursor := whole.pop("cursor", None):
        page = api.get(path("addresses", address), cursor=cursor)
        whole["messages"] += page["messages"]
        whole["cursor"] = page.get("cursor")
    echo_json(whole)


@addresses.command("erase")
@click.argument("address", is_eager=True)
@click.option("--keep-suppression", is_flag=True, help="Go on sending nothing there.")
@yes_option
@json_option
@with_api
def erase_address(
    api: RestClient, /, *, address: str, keep_suppression: bool, as_json: bool
) -> None:
    """Erase everything; the numbers in statistics stay."""
    query = {"keep_suppression": "true" if keep_suppression else "false"}
    done: dict[str, Any] = api.delete(path("addresses", address), **query)
    while not done["complete"]:
        more = api.delete(path("addresses", address), **query)
        for name in ("messages", "events"):
            more[name] += done[name]
        more["suppression"] = more["suppression"] or done["suppression"]
        done = more
    show_one(done, as_json=as_json)
