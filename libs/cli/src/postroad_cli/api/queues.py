"""`postroad queues`: the queues of the broker, and what to do with dead letters."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import limit_option, path
from postroad_cli.api.rows import fetch, show_one, show_rows
from postroad_cli.options import ask, json_option
from postroad_stack.rest import RestClient


@click.group()
def queues() -> None:
    """Queues of the broker, and what to do with dead letters."""


@queues.command("list")
@limit_option
@json_option
@with_api
def list_queues(api: RestClient, /, *, limit: int, as_json: bool) -> None:
    """Show all."""
    columns = ("name", "ready", "consumers", "dead", "purpose")
    show_rows(list(fetch(api, "/v1/queues", limit=limit)), columns, as_json=as_json)


@queues.command("show")
@click.argument("name")
@json_option
@with_api
def show_queue(api: RestClient, /, *, name: str, as_json: bool) -> None:
    """Show one."""
    show_one(api.get(path("queues", name)), as_json=as_json)


@queues.command()
@click.argument("name")
@click.option("--limit", default=20, show_default=True, help="Messages at most.")
@json_option
@with_api
def look(api: RestClient, /, *, name: str, limit: int, as_json: bool) -> None:
    """Show dead letters with their reasons; they stay where they are."""
    found = api.get(path("queues", name, "messages"), limit=limit)["items"]
    columns = ("time", "queue", "reason", "messages", "size")
    show_rows(found, columns, as_json=as_json)


@queues.command()
@click.argument("name")
@click.option("--limit", default=500, show_default=True, help="Messages at most.")
@json_option
@with_api
def replay(api: RestClient, /, *, name: str, limit: int, as_json: bool) -> None:
    """Put dead letters back into the queues they came from."""
    show_one(api.post(path("queues", name, "replay"), {"limit": limit}), as_json=as_json)


@queues.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@with_api
def purge(api: RestClient, /, *, name: str, yes: bool, as_json: bool) -> None:
    """Throw dead letters away, for good."""
    if not yes:
        ready = api.get(path("queues", name))["ready"]
        ask(f"Throw {ready} messages of {name} away for good?")
    show_one(api.delete(path("queues", name, "messages")), as_json=as_json)
