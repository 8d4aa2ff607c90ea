"""`postroad up`: starts a whole Postroad on this machine."""

import sys

import click

from postroad_cli.local.addresses import show_addresses
from postroad_cli.local.options import ambient_settings, counts, servers_option, settings_option
from postroad_cli.local.starting import bring_up, stay_until_interrupted
from postroad_cli.options import state_dir_option
from postroad_cli.terminal import echo, echo_json
from postroad_stack.plan import CLUSTER, EVERYTHING, SINK
from postroad_stack.servers.choose import Preference
from postroad_stack.state_dir import StateDir


@click.command()
@click.option("--detach", is_flag=True, help="Return when all is ready, and leave it running.")
@click.option(
    "--json", "as_json", is_flag=True, help="Detach; print the stack document at the end."
)
@state_dir_option
@click.option("--no-sink", is_flag=True, help="Run no mail sink; deliver by POSTROAD_ROUTES.")
@settings_option
@click.option(
    "--replicas",
    multiple=True,
    metavar="SERVICE=N",
    callback=counts,
    help="Run a service N times; may be repeated.",
)
@servers_option
@click.option("--cluster", is_flag=True, help="Run three nodes of RabbitMQ and three of MongoDB.")
@click.option("--prometheus", is_flag=True, help="Run Prometheus, which reads every process.")
@click.option("--only", metavar="NAME,…", hidden=True)
def up(
    *,
    detach: bool,
    as_json: bool,
    state: StateDir,
    no_sink: bool,
    settings: dict[str, str],
    replicas: dict[str, int],
    servers: str,
    prometheus: bool,
    cluster: bool,
    only: str | None,
) -> None:
    """Start RabbitMQ, MongoDB, every service and a mail sink.

    On a terminal it stays in the foreground until Ctrl-C, which stops everything; with --detach
    or --json, and where stdout is no terminal, it returns when all is ready. On a stack that runs
    already it only shows it, and says which options it was started without.
    """
    stay = not (detach or as_json) and sys.stdout.isatty()
    runs = _what_runs(only, no_sink=no_sink)
    started, document = bring_up(
        state,
        environment={**ambient_settings(), **settings},
        replicas=replicas,
        preference=Preference(servers),
        only=runs,
        prometheus=prometheus,
        nodes=CLUSTER if cluster else 1,
        follow=stay,
    )
    if as_json:
        echo_json(document.fields(), indent=None)
        return
    show_addresses(document)
    if stay and started:
        echo("\nPostroad runs. Ctrl-C stops it.")
        stay_until_interrupted(state)


def _what_runs(only: str | None, *, no_sink: bool) -> tuple[str, ...]:
    if only is None:
        return tuple(name for name in EVERYTHING if not (no_sink and name == SINK))
    names = tuple(only.split(","))
    unknown = [name for name in names if name not in EVERYTHING]
    if unknown:
        raise click.BadParameter(f"unknown: {', '.join(unknown)}", param_hint="--only")
    return names
