"""`postroad trace`: what happened to one message."""

import time
from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.options import json_option
from postroad_cli.terminal import console, echo_json
from postroad_cli.times import duration, moment
from postroad_stack.errors import StackError
from postroad_stack.rest import Json, RestClient

_FINAL = frozenset(
    {"delivered", "failed", "bounced", "suppressed", "expired", "cancelled", "tested"}
)
_POLL_SECONDS = 0.5
_APPEAR_SECONDS = 60.0  # from acceptance to the history
_COLOURS = {
    "accepted": "cyan",
    "transformed": "cyan",
    "delivered": "green",
    "opened": "green",
    "clicked": "green",
    "deferred": "yellow",
    "failed": "red",
    "bounced": "red",
    "complained": "red",
    "suppressed": "red",
}
# What the head of the trace says already, and what only programs need.
_HIDDEN = frozenset(
    {"event", "time", "id", "submission", "credential", "source", "received", "envelope"}
) | {
    *("recipient", "notify", "features", "forward_bounces", "tags", "subject", "size", "expires"),
    *("conversation", "explanation"),
}


@click.command()
@click.argument("message_id")
@click.option("--follow", is_flag=True, help="Wait until the message has reached a final state.")
@click.option("--verbose", "-v", is_flag=True, help="Show the SMTP conversations, too.")
@json_option
@with_api
def trace(
    api: RestClient, /, *, message_id: str, follow: bool, verbose: bool, as_json: bool
) -> None:
    """Show the life of one message, event by event."""
    unknown_until = time.monotonic() + (_APPEAR_SECONDS if follow else 0)
    while True:
        message = api.message(message_id)
        if message is None and time.monotonic() < unknown_until:
            time.sleep(_POLL_SECONDS)
            continue
        if message is None:
            raise StackError(
                f"no message {message_id}",
                advice="ids stand in the 250 reply, and in: postroad messages",
            )
        if not follow or message["state"] in _FINAL:
            break
        time.sleep(_POLL_SECONDS)
    if as_json:
        echo_json(message)
    else:
        _show(message, verbose=verbose)


def _show(message: Json, *, verbose: bool = False) -> None:
    from rich.text import Text  # noqa: PLC0415 -- rich takes 60 ms to import

    screen = console()
    head = (
        ("message", message["id"]),
        ("from, to", f"{message['envelope'] or '<>'} → {message['recipient']}"),
        ("subject", message["subject"]),
        ("state", message["state"]),
        ("features", " ".join(name for name, on in message["features"].items() if on) or "none"),
        ("tags", " ".join(message["tags"])),
    )
    for name, value in head:
        if value:
            screen.print(Text.assemble((f"{name:<10}", "dim"), str(value)), soft_wrap=True)
    timeline = message["timeline"]
    if not timeline:
        return
    began = float(timeline[0]["time"])
    screen.print(Text(f"{'since':<10}{moment(began)}", style="dim"))
    screen.print()
    for entry in timeline:
        passed = float(entry["time"]) - began
        screen.print(
            Text.assemble(
                (f"{'+' + duration(passed):>10}  ", "cyan"),
                (f"{entry['event']:<12}", _COLOURS.get(entry["event"], "")),
                _facts(entry),
            ),
            soft_wrap=True,
        )
        if why := entry.get("explanation"):
            words = f"{why['meaning']} {why['advice']}"
            screen.print(Text(f"{'':<14}{words}", style="italic"), soft_wrap=True)
        for line in entry.get("conversation") or () if verbose else ():
            style = "dim" if line.startswith("#") else ""
            screen.print(Text(f"{'':<14}{line}", style=style), soft_wrap=True)


def _facts(entry: dict[str, Any]) -> str:
    facts = {k: v for k, v in entry.items() if k not in _HIDDEN and v not in (None, "", [], {})}
    reply = facts.pop("reply", None)
    if reply:
        facts.pop("code", None)
        facts.pop("enhanced", None)
    words = [f"{name}={_word(value)}" for name, value in facts.items()]
    return "  ".join(([str(reply)] if reply else []) + words)


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}:{_word(part)}" for name, part in value.items())
    return ",".join(map(_word, value)) if isinstance(value, list) else str(value)
