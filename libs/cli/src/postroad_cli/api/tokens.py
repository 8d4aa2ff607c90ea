"""`postroad tokens`: REST tokens."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, path
from postroad_cli.api.rows import show_one
from postroad_cli.options import json_option
from postroad_stack.rest import RestClient


@click.group()
def tokens() -> None:
    """REST tokens."""


add_list(tokens, "tokens", ("id", "name", "scopes", "created"))


@tokens.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, help="May be repeated; * is all.")
@json_option
@with_api
def create_token(api: RestClient, /, *, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make a token; it is shown this once."""
    made = api.post(path("tokens"), {"name": name, "scopes": list(scopes)})
    show_one(made, as_json=as_json)


add_delete(tokens, "tokens", "ID")
