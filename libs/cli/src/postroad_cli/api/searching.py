"""The options of a search for messages, which several commands take."""

from typing import Any

import click

from postroad_cli.moments import Moment
from postroad_cli.options import F

_OPTIONS = (
    click.option("--recipient", default=None, help="An address, or @example.com."),
    click.option("--envelope", default=None),
    click.option("--sender", default=None, help="The address of the From field."),
    click.option("--subject", default=None, help="Some words of the first eight."),
    click.option("--tag", default=None),
    click.option("--state", "in_state", default=None, help="Such as queued, deferred, delivered."),
    click.option("--login", default=None, help="A login, or the id of a token."),
    click.option("--submission", default=None),
    click.option("--template", default=None),
    click.option("--source", default=None, help="smtp, rest, dsn or forward."),
    click.option("--opened", is_flag=True, help="By people."),
    click.option("--clicked", is_flag=True, help="By people."),
    click.option("--complained", is_flag=True),
    click.option("--test", is_flag=True, help="Only tests, which are not sent."),
    click.option(
        "--start", "--since", type=Moment(), default=None, help="Such as 2h, yesterday, 2027-03-01."
    ),
    click.option("--end", "--until", type=Moment(), default=None, help="As --start."),
)


def search_options(command: F) -> F:
    """Add the options; `query_of` reads what they give."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def query_of(options: dict[str, Any]) -> dict[str, str]:
    """Return what is searched for, as the API names it."""
    given = {("state" if name == "in_state" else name): value for name, value in options.items()}
    return {name: "true" if value is True else str(value) for name, value in given.items() if value}
