"""`postroad users`: who may log in to the dashboard."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, path
from postroad_cli.api.rows import show_one
from postroad_cli.options import json_option
from postroad_stack.rest import RestClient

ROLES = ("owner", "admin", "developer", "reader")


@click.group()
def users() -> None:
    """Users of the dashboard, and their roles."""


add_list(users, "users", ("email", "role", "second_factor", "invited", "last_login"))


@users.command("invite")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), default="developer", show_default=True)
@json_option
@with_api
def invite_user(api: RestClient, /, *, email: str, role: str, as_json: bool) -> None:
    """Invite somebody; shows the link, which works once."""
    show_one(api.post(path("users"), {"email": email, "role": role}), as_json=as_json)


@users.command("change")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), required=True)
@json_option
@with_api
def change_user(api: RestClient, /, *, email: str, role: str, as_json: bool) -> None:
    """Give a user another role."""
    show_one(api.patch(path("users", email), {"role": role}), as_json=as_json)


@users.command("reset")
@click.argument("email")
@json_option
@with_api
def reset_user(api: RestClient, /, *, email: str, as_json: bool) -> None:
    """Make a link that sets a new password; it works once, for an hour."""
    show_one(api.post(path("users", email, "reset")), as_json=as_json)


add_delete(users, "users", "EMAIL")
