"""Administration through the REST API: one group of subcommands for each kind of thing.

The commands say what they do to what; the rules about it are the API's, and so are the messages
when it refuses.
"""

from typing import Any
from urllib.parse import quote

import click

from postroad_cli.deployment import with_api
from postroad_cli.options import F, json_option
from postroad_cli.rows import fetch, show_one, show_rows
from postroad_stack.rest import RestClient

FEATURES = ("inlinecss", "clicktracking", "openstracking", "preventscam", "bouncetracking")
_LIMIT = click.option("--limit", default=500, show_default=True, help="Rows at most.")


def _path(kind: str, *names: str) -> str:
    return "/".join((f"/v1/{kind}", *(quote(name, safe="") for name in names)))


def _add_list(group: click.Group, kind: str, columns: tuple[str, ...]) -> None:
    @group.command("list")
    @_LIMIT
    @json_option
    @with_api
    def list_all(api: RestClient, /, *, limit: int, as_json: bool) -> None:
        """Show all."""
        show_rows(list(fetch(api, _path(kind), limit=limit)), columns, as_json=as_json)


def _add_show(group: click.Group, kind: str, name: str) -> None:
    @group.command("show")
    @click.argument("name", metavar=name)
    @json_option
    @with_api
    def show(api: RestClient, /, *, name: str, as_json: bool) -> None:
        """Show one, with all its fields."""
        show_one(api.get(_path(kind, name)), as_json=as_json)


def _add_delete(group: click.Group, kind: str, name: str) -> None:
    @group.command("delete")
    @click.argument("name", metavar=name)
    @with_api
    def delete(api: RestClient, /, *, name: str) -> None:
        """Delete one, for good."""
        api.delete(_path(kind, name))
        click.echo("deleted")


def _feature_options(command: F) -> F:
    for feature in reversed(FEATURES):
        command = click.option(f"--{feature}/--no-{feature}", default=None)(command)
    return click.option("--forward-bounces/--no-forward-bounces", default=None)(command)


def _chosen(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a login that were named on the command line."""
    features = {name: options.pop(name) for name in FEATURES if options.get(name) is not None}
    fields = {name: value for name, value in options.items() if value is not None}
    return {**fields, **({"features": features} if features else {})}


@click.group()
def credentials() -> None:
    """SMTP logins and their features."""


_add_list(credentials, "credentials", ("username", "name", "features", "disabled", "created"))
_add_show(credentials, "credentials", "USERNAME")


@credentials.command("create")
@click.argument("name")
@_feature_options
@json_option
@with_api
def create_credential(api: RestClient, /, *, name: str, as_json: bool, **options: Any) -> None:
    """Make a login; its password is shown this once."""
    show_one(api.post(_path("credentials"), {"name": name, **_chosen(options)}), as_json=as_json)


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
        known = api.get(_path("credentials", username))["features"]
        fields["features"] = {**known, **fields["features"]}
    show_one(api.patch(_path("credentials", username), fields), as_json=as_json)


@credentials.command("rotate")
@click.argument("username")
@json_option
@with_api
def rotate_credential(api: RestClient, /, *, username: str, as_json: bool) -> None:
    """Replace the password; the new one is shown this once."""
    show_one(api.post(_path("credentials", username, "rotate")), as_json=as_json)


_add_delete(credentials, "credentials", "USERNAME")


@click.group()
def tokens() -> None:
    """REST tokens."""


_add_list(tokens, "tokens", ("id", "name", "scopes", "created"))


@tokens.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, help="May be repeated; * is all.")
@json_option
@with_api
def create_token(api: RestClient, /, *, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make a token; it is shown this once."""
    made = api.post(_path("tokens"), {"name": name, "scopes": list(scopes)})
    show_one(made, as_json=as_json)


_add_delete(tokens, "tokens", "ID")


@click.group()
def domains() -> None:
    """Sender domains: DNS records, DKIM keys."""


_add_list(domains, "domains", ("domain", "verified", "created", "checked"))
_add_show(domains, "domains", "DOMAIN")


@domains.command("create")
@click.argument("domain")
@json_option
@with_api
def create_domain(api: RestClient, /, *, domain: str, as_json: bool) -> None:
    """Add a domain; shows the DNS records to publish."""
    show_one(api.post(_path("domains"), {"domain": domain}), as_json=as_json)


@domains.command("verify")
@click.argument("domain")
@json_option
@with_api
def verify_domain(api: RestClient, /, *, domain: str, as_json: bool) -> None:
    """Look the records up in the DNS now."""
    show_one(api.post(_path("domains", domain, "verify")), as_json=as_json)


_add_delete(domains, "domains", "DOMAIN")


@click.group()
def suppressions() -> None:
    """Addresses that get no mail."""


_add_list(suppressions, "suppressions", ("address", "kind", "reason", "created", "expires"))
_add_show(suppressions, "suppressions", "ADDRESS")


@suppressions.command("create")
@click.argument("address")
@click.option("--reason", default=None, help="Why; for the people who read it later.")
@json_option
@with_api
def create_suppression(
    api: RestClient, /, *, address: str, reason: str | None, as_json: bool
) -> None:
    """Send nothing to an address any more."""
    body = {"address": address, **({"reason": reason} if reason else {})}
    show_one(api.post(_path("suppressions"), body), as_json=as_json)


_add_delete(suppressions, "suppressions", "ADDRESS")


@click.group()
def webhooks() -> None:
    """URLs that are called for events."""


_add_list(webhooks, "webhooks", ("id", "url", "events", "disabled", "reason"))
_add_show(webhooks, "webhooks", "ID")


@webhooks.command("create")
@click.argument("url")
@click.option("--event", "events", multiple=True, help="May be repeated; all without it.")
@json_option
@with_api
def create_webhook(api: RestClient, /, *, url: str, events: tuple[str, ...], as_json: bool) -> None:
    """Add a webhook; its signing secret is shown this once."""
    body = {"url": url, **({"events": list(events)} if events else {})}
    show_one(api.post(_path("webhooks"), body), as_json=as_json)


@webhooks.command("change")
@click.argument("name", metavar="ID")
@click.option("--url", default=None)
@click.option("--event", "events", multiple=True, help="May be repeated; replaces the old ones.")
@click.option("--disabled/--enabled", default=None)
@json_option
@with_api
def change_webhook(api: RestClient, /, *, name: str, as_json: bool, **options: Any) -> None:
    """Change what is named; the rest stays."""
    options["events"] = list(options["events"]) or None
    show_one(api.patch(_path("webhooks", name), _chosen(options)), as_json=as_json)


@webhooks.command("rotate")
@click.argument("name", metavar="ID")
@json_option
@with_api
def rotate_webhook(api: RestClient, /, *, name: str, as_json: bool) -> None:
    """Replace the signing secret; the new one is shown this once."""
    show_one(api.post(_path("webhooks", name, "rotate")), as_json=as_json)


_add_delete(webhooks, "webhooks", "ID")


GROUPS = (credentials, tokens, domains, suppressions, webhooks)
