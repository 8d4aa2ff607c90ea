"""`postroad lanes`: why mail waits, and directives for its lane.

The key of a lane is `source|site`, as `postroad lanes list` shows it; quote it for the shell.
"""

from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import limit_option, path
from postroad_cli.api.rows import fetch, show_one, show_rows
from postroad_cli.options import ask, json_option
from postroad_stack.rest import RestClient

_REASON = click.option("--reason", default=None, help="Why; for the people who read it later.")
_KIND = click.Choice(["pause", "connections", "rate"])
_COLUMNS = ("key", "phase", "connections", "rate", "waiting", "backlog", "parked", "reason")


def _direct(api: RestClient, key: str, fields: dict[str, Any], *, as_json: bool) -> None:
    show_one(api.patch(path("lanes", key), fields), as_json=as_json)


def _with_reason(fields: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {**fields, **({"reason": reason} if reason else {})}


@click.group()
def lanes() -> None:
    """Delivery lanes: why they are slow, and directives for them."""


@lanes.command("list")
@click.option("--site", default=None, help="A part of the site's name.")
@click.option("--phase", default=None, help="Such as closed, limited, paused.")
@limit_option
@json_option
@with_api
def list_lanes(
    api: RestClient, /, *, site: str | None, phase: str | None, limit: int, as_json: bool
) -> None:
    """Show all."""
    query = {name: value for name, value in (("site", site), ("phase", phase)) if value}
    found = list(fetch(api, "/v1/lanes", limit=limit, **query))
    rows = found if as_json else [_row(lane) for lane in found]
    show_rows(rows, _COLUMNS, as_json=as_json)


@lanes.command("show")
@click.argument("key")
@json_option
@with_api
def show_lane(api: RestClient, /, *, key: str, as_json: bool) -> None:
    """Show one, with every effect and its reason, and the directives in force."""
    show_one(api.get(path("lanes", key)), as_json=as_json)


@lanes.command()
@click.argument("key")
@click.option("--until", type=float, default=None, help="When it ends, in Unix seconds.")
@_REASON
@json_option
@with_api
def pause(
    api: RestClient, /, *, key: str, until: float | None, reason: str | None, as_json: bool
) -> None:
    """Send nothing until it is resumed."""
    _direct(api, key, _with_reason({"paused": until or True}, reason), as_json=as_json)


@lanes.command()
@click.argument("key")
@_REASON
@json_option
@with_api
def drain(api: RestClient, /, *, key: str, reason: str | None, as_json: bool) -> None:
    """Pause it and close its connections; the phase is `drained` when it is empty."""
    _direct(api, key, _with_reason({"drain": True}, reason), as_json=as_json)


@lanes.command()
@click.argument("key")
@json_option
@with_api
def resume(api: RestClient, /, *, key: str, as_json: bool) -> None:
    """Let a paused or drained lane go on."""
    _direct(api, key, {"paused": None, "drain": None}, as_json=as_json)


@lanes.command()
@click.argument("key")
@click.option("--connections", type=float, default=None, help="At most so many; 0: no cap.")
@click.option("--rate", type=float, default=None, help="Messages per second at most; 0: no cap.")
@_REASON
@json_option
@with_api
def cap(
    api: RestClient,
    /,
    *,
    key: str,
    connections: float | None,
    rate: float | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Fix its speed, whatever it learns."""
    given = (("connections", connections), ("rate", rate))
    fields = {name: value or None for name, value in given if value is not None}
    if not fields:
        raise click.UsageError("give --connections, --rate or both")
    _direct(api, key, _with_reason(fields, reason), as_json=as_json)


@lanes.command()
@click.argument("key")
@click.argument("kinds", nargs=-1, type=_KIND)
@json_option
@with_api
def cancel(api: RestClient, /, *, key: str, kinds: tuple[str, ...], as_json: bool) -> None:
    """Forget what it learnt: pause, connections, rate; all of it if none is named."""
    _direct(api, key, {"cancel": list(kinds or _KIND.choices)}, as_json=as_json)


@lanes.command()
@click.argument("key")
@click.option("--reply", help="An SMTP reply, such as '550 5.4.1 Given up'.")
@click.option("--before", type=float, default=None, help="Unix seconds; now without it.")
@click.option("--stop", is_flag=True, help="Take the directive back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_REASON
@json_option
@with_api
def bounce(api: RestClient, /, *, key: str, as_json: bool, **options: Any) -> None:
    """Let everything fail that was received until now and waits for the lane."""
    if options["stop"]:
        _direct(api, key, {"bounce": None}, as_json=as_json)
        return
    if not options["reply"]:
        raise click.UsageError("give --reply or --stop")
    if not options["yes"]:
        waiting = api.get(path("lanes", key))["waiting"]
        count = waiting["memory"] + (waiting["backlog"] or 0)
        ask(f"Let {count} messages (and those in retry tiers) fail for good?")
    order = {"reply": options["reply"], "before": options["before"]}
    _direct(api, key, _with_reason({"bounce": order}, options["reason"]), as_json=as_json)


@lanes.command()
@click.argument("key")
@click.argument("host", required=False)
@click.option("--port", default=25, show_default=True)
@click.option("--tls", type=click.Choice(["none", "opportunistic", "required"]))
@click.option("--stop", is_flag=True, help="Send the mail where it belongs again.")
@_REASON
@json_option
@with_api
def redirect(api: RestClient, /, *, key: str, as_json: bool, **options: Any) -> None:
    """Send its mail to another host, until that is taken back."""
    if options["stop"] == bool(options["host"]):
        raise click.UsageError("give a HOST or --stop")
    order = None
    if options["host"]:
        order = {"host": options["host"], "port": options["port"]}
        order |= {"tls": options["tls"]} if options["tls"] else {}
    _direct(api, key, _with_reason({"redirect": order}, options["reason"]), as_json=as_json)


@lanes.command()
@click.argument("key")
@click.argument("kinds", nargs=-1, type=_KIND)
@json_option
@with_api
def simulate(api: RestClient, /, *, key: str, kinds: tuple[str, ...], as_json: bool) -> None:
    """Show effects of these kinds without carrying them out; none: carry all out."""
    _direct(api, key, {"simulate": list(kinds) or None}, as_json=as_json)


def _row(lane: dict[str, Any]) -> dict[str, Any]:
    memory = {"waiting": lane["waiting"]["memory"]}
    return {**lane["state"], **lane["waiting"], **memory, "key": lane["key"]}
