"""`postroad webhooks`: URLs that are called for events."""

from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import (
    add_delete,
    add_list,
    add_show,
    limit_option,
    path,
    without_none,
)
from postroad_cli.api.rows import fetch, show_one, show_rows
from postroad_cli.moments import Moment
from postroad_cli.options import json_option
from postroad_cli.terminal import echo
from postroad_stack.rest import RestClient


@click.group()
def webhooks() -> None:
    """URLs that are called for events."""


add_list(webhooks, "webhooks", ("id", "url", "events", "disabled", "reason"))
add_show(webhooks, "webhooks", "ID")


@webhooks.command("create")
@click.argument("url")
@click.option("--event", "events", multiple=True, help="May be repeated; all without it.")
@json_option
@with_api
def create_webhook(api: RestClient, /, *, url: str, events: tuple[str, ...], as_json: bool) -> None:
    """Add a webhook; its signing secret is shown this once."""
    body = {"url": url, **({"events": list(events)} if events else {})}
    show_one(api.post(path("webhooks"), body), as_json=as_json)


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
    show_one(api.patch(path("webhooks", name), without_none(options)), as_json=as_json)


@webhooks.command("rotate")
@click.argument("name", metavar="ID")
@json_option
@with_api
def rotate_webhook(api: RestClient, /, *, name: str, as_json: bool) -> None:
    """Replace the signing secret; the new one is shown this once."""
    show_one(api.post(path("webhooks", name, "rotate")), as_json=as_json)


@webhooks.command("verify")
@click.argument("name", metavar="ID")
@with_api
def verify_webhook(api: RestClient, /, *, name: str) -> None:
    """Have it called with a challenge that it must repeat."""
    api.post(path("webhooks", name, "verify"))
    echo("called; see: postroad webhooks deliveries " + name)


@webhooks.command("test")
@click.argument("name", metavar="ID")
@with_api
def test_webhook(api: RestClient, /, *, name: str) -> None:
    """Have it called with an event of the type `test`."""
    api.post(path("webhooks", name, "test"))
    echo("called; see: postroad webhooks deliveries " + name)


@webhooks.command("deliveries")
@click.argument("name", metavar="ID")
@limit_option
@json_option
@with_api
def list_deliveries(api: RestClient, /, *, name: str, limit: int, as_json: bool) -> None:
    """Show its calls, newest first."""
    rows = list(fetch(api, path("webhooks", name, "deliveries"), limit=limit))
    show_rows(rows, ("id", "event", "state", "tries", "created", "due"), as_json=as_json)


@webhooks.command("replay")
@click.argument("name", metavar="ID")
@click.option(
    "--start", "--since", type=Moment(), required=True, help="Such as 2h, yesterday, 2027-03-01."
)
@click.option("--end", "--until", type=Moment(), default=None, help="As --start; now without it.")
@json_option
@with_api
def replay_webhook(
    api: RestClient, /, *, name: str, start: str, end: str | None, as_json: bool
) -> None:
    """Have the events of a range of time posted once more."""
    body = without_none({"start": start, "end": end})
    show_one(api.post(path("webhooks", name, "replay"), body), as_json=as_json)


add_delete(webhooks, "webhooks", "ID")
