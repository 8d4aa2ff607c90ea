"""What the commands for all kinds of things have in common: their paths, `list`, `show`, `delete`.

The commands say what they do to what; the rules about it are the API's, and so are the messages
when it refuses.
"""

from typing import Any
from urllib.parse import quote

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.rows import fetch, show_one, show_rows
from postroad_cli.options import json_option, yes_option
from postroad_cli.terminal import echo
from postroad_stack.rest import RestClient

limit_option = click.option("--limit", default=500, show_default=True, help="Rows at most.")


def path(kind: str, *names: str) -> str:
    """Return the path of a kind of things, of one of them, or of what belongs to it."""
    return "/".join((f"/v1/{kind}", *(quote(name, safe="") for name in names)))


def add_list(group: click.Group, kind: str, columns: tuple[str, ...]) -> None:
    """Add `list`, which shows these columns."""

    @group.command("list")
    @limit_option
    @json_option
    @with_api
    def list_all(api: RestClient, /, *, limit: int, as_json: bool) -> None:
        """Show all."""
        show_rows(list(fetch(api, path(kind), limit=limit)), columns, as_json=as_json)


def add_show(group: click.Group, kind: str, name: str) -> None:
    """Add `show`; `name` is what identifies one, in the help."""

    @group.command("show")
    @click.argument("name", metavar=name)
    @json_option
    @with_api
    def show(api: RestClient, /, *, name: str, as_json: bool) -> None:
        """Show one, with all its fields."""
        show_one(api.get(path(kind, name)), as_json=as_json)


def add_delete(group: click.Group, kind: str, name: str) -> None:
    """Add `delete`; `name` is what identifies one, in the help."""

    @group.command("delete")
    @click.argument("name", metavar=name, is_eager=True)
    @yes_option
    @with_api
    def delete(api: RestClient, /, *, name: str) -> None:
        """Delete one, for good."""
        api.delete(path(kind, name))
        echo("deleted")


def without_none(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
