"""`postroad jobs`: acts on all messages that a search finds."""

import sys
import time
from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_list, add_show, path
from postroad_cli.api.rows import fetch, show_one, show_rows
from postroad_cli.api.searching import query_of, search_options
from postroad_cli.options import json_option, yes_option
from postroad_cli.terminal import echo
from postroad_stack.rest import Json, RestClient

ACTS = ("retry", "cancel", "resend", "suppress", "lift", "lift-and-resend")
_COLUMNS = ("id", "act", "state", "total", "counts", "by", "created")
_EVERY_SECONDS = 1.0


@click.group()
def jobs() -> None:
    """Acts on all messages that a search finds."""


add_list(jobs, "jobs", _COLUMNS)
add_show(jobs, "jobs", "ID")


@jobs.command()
@click.argument("act", type=click.Choice(ACTS))
@search_options
@click.option("--confirm", type=int, default=None, help="How many messages it is meant for.")
@click.option("--yes", is_flag=True, help="Do not ask, however many there are.")
@json_option
@with_api
def start(
    api: RestClient,
    /,
    *,
    act: str,
    confirm: int | None,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Count what a search finds, ask, and have ACT done with each message of it.

    Without a terminal give --confirm with the number, or --yes.
    """
    query = query_of(options)
    found = api.call("GET", path("jobs", "count"), query=query)
    total = found["total"]
    if not total:
        raise click.UsageError("The search finds no message.")
    if confirm is None and not yes:
        _ask(act, total, found["newest"])
    search = {name: value == "true" or value for name, value in query.items()}
    order = {
        "act": act,
        "search": search,
        "confirm": total if confirm is None else confirm,
        "job": found["job"],
    }
    show_one(api.post(path("jobs"), order), as_json=as_json)


def _ask(act: str, total: int, newest: list[Json]) -> None:
    """Show what it would be about, and ask.

    Raises:
        click.Abort: the answer is no.
        click.UsageError: nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"The search finds {total} messages: add --confirm {total}.")
    show_rows(newest, ("id", "state", "recipient", "subject", "created"), as_json=False)
    click.confirm(f"{act}: {total} messages?", abort=True, err=True)


@jobs.command()
@click.argument("name", metavar="ID")
@json_option
@with_api
def watch(api: RestClient, /, *, name: str, as_json: bool) -> None:
    """Wait for the end of a job, and say how far it is meanwhile."""
    told = -1
    while True:
        job = api.get(path("jobs", name))
        handled = sum(job["counts"].values())
        if job["finished"] is not None:
            break
        if handled != told and not as_json:
            echo(f"{handled} of {job['total']}{' (' + job['note'] + ')' if job['note'] else ''}")
            told = handled
        time.sleep(_EVERY_SECONDS)
    show_one(job, as_json=as_json)


@jobs.command("messages")
@click.argument("name", metavar="ID")
@click.option(
    "--ending",
    type=click.Choice(["done", "skipped", "failed"]),
    default="failed",
    show_default=True,
)
@click.option("--limit", default=500, show_default=True, help="Rows at most.")
@json_option
@with_api
def list_messages(api: RestClient, /, *, name: str, ending: str, limit: int, as_json: bool) -> None:
    """Show the messages of a job that ended so, newest first."""
    rows = list(fetch(api, path("jobs", name, "messages"), limit=limit, ending=ending))
    show_rows(rows, ("message", "code", "reason", "made"), as_json=as_json)


@jobs.command()
@click.argument("name", metavar="ID", is_eager=True)
@yes_option
@json_option
@with_api
def stop(api: RestClient, /, *, name: str, as_json: bool) -> None:
    """Have a job end where it is; what is done stays done."""
    show_one(api.post(path("jobs", name, "stop"), {}), as_json=as_json)
