"""Options that several subcommands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from postroad_stack.plan import check_replicas
from postroad_stack.servers.choose import Preference
from postroad_stack.state_dir import DEFAULT, StateDir

F = TypeVar("F", bound=Callable[..., Any])

# Variables of the command itself; the services know nothing of them.
OWN_VARIABLES = frozenset(
    {"POSTROAD_STATE_DIR", "POSTROAD_URL", "POSTROAD_TOKEN", "POSTROAD_SERVERS"}
)


def state_dir_option(command: F) -> F:
    """Add `--state-dir`, given to the command as a `StateDir` named `state`."""
    return click.option(
        "--state-dir",
        "state",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="POSTROAD_STATE_DIR",
        default=DEFAULT,
        show_default=True,
        callback=lambda _context, _parameter, value: StateDir(value),
        help="Folder with everything of one stack.",
    )(command)


def pairs(
    _context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Turn repeated KEY=VALUE into a dict; later ones win."""
    found = {}
    for value in values:
        key, separator, text = value.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", param=parameter)
        found[key] = text
    return found


def counts(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    """Turn repeated SERVICE=N into a dict of numbers."""
    found = {}
    for service, text in pairs(context, parameter, values).items():
        if not text.isdecimal():
            raise click.BadParameter(f"{service}={text}: not a number", param=parameter)
        found[service] = int(text)
    check_replicas(found)
    return found


def ambient_settings() -> dict[str, str]:
    """Return the POSTROAD_* settings of the environment that are meant for the services."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("POSTROAD_") and name not in OWN_VARIABLES
    }


def settings_option(command: F) -> F:
    """Add `--env`, given to the command as a dict named `settings`."""
    return click.option(
        "--env",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        callback=pairs,
        help="A setting for every service; may be repeated.",
    )(command)


def servers_option(command: F) -> F:
    """Add `--servers`."""
    return click.option(
        "--servers",
        type=click.Choice([kind.value for kind in Preference]),
        default=Preference.AUTO.value,
        show_default=True,
        envvar="POSTROAD_SERVERS",
        help="Where RabbitMQ and MongoDB come from when no URL is given.",
    )(command)


def json_option(command: F) -> F:
    """Add `--json`, given to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
