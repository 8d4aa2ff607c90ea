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


add_list(tokens, "tokens", ("id", "name", "scopes", "test", "created", "expires", "last_used"))


@tokens.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, help="May be repeated; * is all.")
@click.option("--from", "sender_domains", multiple=True, help="A domain it may send from; all.")
@click.option("--network", "networks", multiple=True, help="A network it may be used from; all.")
@click.option("--expires", default=None, help="Until when, such as 2027-12-31; for good.")
@click.option("--test", is_flag=True, help="Its mail is checked and recorded, and not sent.")
@json_option
@with_api
def create_token(
    api: RestClient,
    /,
    *,
    name: str,
    expires: str | None,
    test: bool,
    as_json: bool,
    **several: tuple[str, ...],
) -> None:
    """Make a token; it is shown this once."""
    fields = {field: list(values) for field, values in several.items()}
    body = {"name": name, **fields, **({"expires": expires} if expires else {}), "test": test}
    show_one(api.post(path("tokens"), body), as_json=as_json)


add_delete(tokens, "tokens", "ID")
