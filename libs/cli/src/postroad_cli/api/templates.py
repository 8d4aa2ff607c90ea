"""`postroad templates`: stored mails with tags."""

import json
from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, add_show, path, without_none
from postroad_cli.api.rows import show_one, show_rows
from postroad_cli.options import F, json_option
from postroad_stack.rest import RestClient


def _content_options(command: F) -> F:
    for name in ("mime", "html", "text"):
        command = click.option(
            f"--{name}", type=click.File(encoding="utf-8"), default=None, help="A file; - is stdin."
        )(command)
    for name in ("replyto", "subject"):
        command = click.option(f"--{name}", default=None)(command)
    return click.option("--from", "sender", default=None)(command)


def _content(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that the command line names, files read."""
    fields = {name: options[name] for name in ("subject", "replyto")}
    fields["from"] = options["sender"]
    for name in ("text", "html", "mime"):
        fields[name] = options[name].read() if options[name] else None
    return without_none(fields)


@click.group()
def templates() -> None:
    """Keep mails with tags."""


add_list(templates, "templates", ("id", "name", "version", "created", "changed"))
add_show(templates, "templates", "NAME")


@templates.command("create")
@click.argument("name")
@_content_options
@json_option
@with_api
def create_template(api: RestClient, /, *, name: str, as_json: bool, **options: Any) -> None:
    """Store a template whose texts are in files."""
    show_one(api.post(path("templates"), {"name": name, **_content(options)}), as_json=as_json)


@templates.command("change")
@click.argument("name")
@_content_options
@json_option
@with_api
def change_template(api: RestClient, /, *, name: str, as_json: bool, **options: Any) -> None:
    """Make a new version that says what is named here, and nothing else."""
    changed = api.call("PUT", path("templates", name), body=_content(options))
    show_one(changed, as_json=as_json)


@templates.command("versions")
@click.argument("name")
@json_option
@with_api
def list_versions(api: RestClient, /, *, name: str, as_json: bool) -> None:
    """Show the versions, the latest first."""
    found = api.get(path("templates", name, "versions"))["items"]
    show_rows(found, ("version", "created"), as_json=as_json)


@templates.command("fill")
@click.argument("name")
@click.option("--data", default="{}", help="JSON object that tags are filled with.")
@click.option("--version", type=int, default=None)
@json_option
@with_api
def fill_template(
    api: RestClient, /, *, name: str, data: str, version: int | None, as_json: bool
) -> None:
    """Show what a recipient with this data would get; nothing is sent."""
    try:
        known = json.loads(data)
    except ValueError as error:
        raise click.BadParameter(f"this is no JSON: {error}", param_hint="--data") from None
    body = without_none({"data": known, "version": version})
    filled = api.post(path("templates", name, "fill"), body)
    show_one(filled if as_json else without_none(filled), as_json=as_json)


add_delete(templates, "templates", "NAME")
