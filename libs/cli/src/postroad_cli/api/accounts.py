"""`postroad accounts`: accounts, for the operator of a deployment."""

from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, add_show, path, without_none
from postroad_cli.api.rows import show_one
from postroad_cli.options import json_option
from postroad_stack.rest import RestClient

_verified = click.option(
    "--verified-senders-only/--any-sender",
    default=None,
    help="Whether mail is taken only from domains that the account has verified.",
)


@click.group()
def accounts() -> None:
    """Accounts, for the operator of a deployment."""


add_list(accounts, "accounts", ("id", "name", "suspended", "verified_senders_only", "created"))
add_show(accounts, "accounts", "ID")


@accounts.command("create")
@click.argument("account", metavar="ID")
@click.option("--name", default=None)
@click.option("--owner", default=None, help="Address of somebody to invite as the owner.")
@_verified
@json_option
@with_api
def create_account(api: RestClient, /, *, account: str, as_json: bool, **options: Any) -> None:
    """Make an account; ID is a-z, 0-9 and -."""
    body = {"id": account, **without_none(options)}
    show_one(api.post(path("accounts"), body), as_json=as_json)


@accounts.command("change")
@click.argument("account", metavar="ID")
@click.option("--name", default=None)
@click.option("--suspended/--resumed", default=None, help="Takes no mail while suspended.")
@_verified
@json_option
@with_api
def change_account(api: RestClient, /, *, account: str, as_json: bool, **options: Any) -> None:
    """Change what is named; the rest stays."""
    show_one(api.patch(path("accounts", account), without_none(options)), as_json=as_json)


add_delete(accounts, "accounts", "ID")
