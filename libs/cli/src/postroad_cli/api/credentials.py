"""`postroad credentials`: SMTP logins and their features."""

from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, add_show, path, without_none
from postroad_cli.api.rows import show_one
from postroad_cli.options import F, json_option
from postroad_stack.rest import RestClient

FEATURES = ("inlinecss", "clicktracking", "openstracking", "preventscam", "bouncetracking")


def _feature_options(command: F) -> F:
    for feature in reversed(FEATURES):
        command = click.option(f"--{feature}/--no-{feature}", default=None)(command)
    help_of_test = "Whether its mail is checked and recorded, and not sent."
    command = click.option("--test/--no-test", default=None, help=help_of_test)(command)
    return click.option("--forward-bounces/--no-forward-bounces", default=None)(command)


def _chosen(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a login that were named on the command line."""
    features = without_none({name: options.pop(name) for name in FEATURES})
    return without_none(options) | ({"features": features} if features else {})


@click.group()
def credentials() -> None:
    """SMTP logins and their features."""


add_list(
    credentials, "credentials", ("username", "name", "features", "test", "disabled", "created")
)
add_show(credentials, "credentials", "USERNAME")


@credentials.command("create")
@click.argument("name")
@_feature_options
@json_option
@with_api
def create_credential(api: RestClient, /, *, name: str, as_json: bool, **options: Any) -> None:
    """Make a login; its password is shown this once."""
    show_one(api.post(path("credentials"), {"name": name, **_chosen(options)}), as_json=as_json)


@credentials.command("change")
@click.argument("username")
@click.option("--name", default=None, help="A new name.")
@click.option("--disabled/--enabled", default=None, help="Whether it may log in.")
@_feature_options
@json_option
@with_api
def change_credential(api: RestClient, /, *, username: str, as_json: bool, **options: Any) -> None:
    """Change what is named; the rest stays."""
    fields = _chosen(options)
    if "features" in fields:
        known = api.get(path("credentials", username))["features"]
        fields["features"] = {**known, **fields["features"]}
    show_one(api.patch(path("credentials", username), fields), as_json=as_json)


@credentials.command("rotate")
@click.argument("username")
@json_option
@with_api
def rotate_credential(api: RestClient, /, *, username: str, as_json: bool) -> None:
    """Replace the password; the new one is shown this once."""
    show_one(api.post(path("credentials", username, "rotate")), as_json=as_json)


add_delete(credentials, "credentials", "USERNAME")
