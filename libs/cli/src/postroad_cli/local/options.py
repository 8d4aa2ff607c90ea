"""Options of the subcommands that start something, and the settings of the environment."""

import os

import click

from postroad_cli.options import F
from postroad_stack.plan import check_replicas
from postroad_stack.servers.choose import Preference

# Variables of the command itself; the services know nothing of them.
OWN_VARIABLES = frozenset(
    {"POSTROAD_STATE_DIR", "POSTROAD_URL", "POSTROAD_TOKEN", "POSTROAD_SERVERS"}
)


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
