"""`postroad messages`: finds and exports mail; `retry` and `cancel` direct one that waits."""

from typing import Any

import click
from typing_extensions import override

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import path
from postroad_cli.api.rows import fetch, show_one, show_rows
from postroad_cli.api.searching import query_of, search_options
from postroad_cli.options import json_option
from postroad_cli.terminal import echo_file
from postroad_stack.rest import RestClient


class _Finding(click.Group):
    """A group that finds where no other command is named: `messages --recipient x@example.com`."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command `list` before options that are its own."""
        own = {*self.commands, *self.get_help_option_names(ctx)}
        return super().parse_args(ctx, args if args and args[0] in own else ["list", *args])


@click.group(cls=_Finding)
def messages() -> None:
    """Find messages (without a command), export them, try one now, cancel one."""


@messages.command("list")
@search_options
@click.option("--limit", default=25, show_default=True, help="Rows at most, newest first.")
@json_option
@with_api
def list_messages(api: RestClient, /, *, limit: int, as_json: bool, **options: Any) -> None:
    """Find messages."""
    rows = list(fetch(api, "/v1/messages", limit=limit, **query_of(options)))
    columns = ("id", "state", "envelope", "recipient", "subject", "created")
    show_rows(rows, columns, as_json=as_json)


@messages.command()
@search_options
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv")
@with_api
def export(api: RestClient, /, *, form: str, **options: Any) -> None:
    """Print what a search finds as CSV or JSON lines, at most 100,000 messages."""
    query = {**query_of(options), "format": form}
    echo_file(api.pieces("/v1/messages/export", query=query))


@messages.command()
@click.argument("message")
@json_option
@with_api
def retry(api: RestClient, /, *, message: str, as_json: bool) -> None:
    """Try a message that waits as soon as its queue brings it, before its time."""
    show_one(api.post(path("messages", message, "retry"), {}), as_json=as_json)


@messages.command()
@click.argument("message")
@json_option
@with_api
def cancel(api: RestClient, /, *, message: str, as_json: bool) -> None:
    """Take a message back that waits; `postroad trace` shows when it is cancelled."""
    show_one(api.post(path("messages", message, "cancel"), {}), as_json=as_json)
