"""`postroad up`, `down`, `status`: the life of the stack on this machine."""

import signal
import sys
import time

import click

from postroad_cli.options import (
    ambient_settings,
    counts,
    servers_option,
    settings_option,
    state_dir_option,
)
from postroad_cli.output import (
    StartProgress,
    error_console,
    show_addresses,
    show_processes,
)
from postroad_stack import launching
from postroad_stack.document import StackDocument
from postroad_stack.errors import StackError
from postroad_stack.plan import EVERYTHING, SINK, Plan
from postroad_stack.servers.choose import Preference, choose_servers, continued
from postroad_stack.state_dir import StateDir

_POLL = 0.5


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
    only: str | None,
) -> None:
    """Start RabbitMQ, MongoDB, every service and a mail sink.

    On a terminal it stays in the foreground until Ctrl-C, which stops everything; with --detach
    or --json, and where stdout is no terminal, it returns when all is ready. On a stack that runs
    already it only shows it.
    """
    stay = not (detach or as_json) and sys.stdout.isatty()
    runs = _what_runs(only, no_sink=no_sink)
    started, document = bring_up(
        state,
        environment={**ambient_settings(), **settings},
        replicas=replicas,
        preference=Preference(servers),
        only=runs,
        follow=stay,
    )
    if as_json:
        click.echo(document.line())
        return
    show_addresses(document)
    if stay and started:
        click.echo("\nPostroad runs. Ctrl-C stops it.")
        stay_until_interrupted(state)


def bring_up(
    state: StateDir,
    *,
    environment: dict[str, str],
    replicas: dict[str, int],
    preference: Preference,
    only: tuple[str, ...] = EVERYTHING,
    follow: bool,
) -> tuple[bool, StackDocument]:
    """Start a stack, or find it running; return whether it was started, and its document.

    Args:
        state: state dir.
        environment: settings for the services.
        replicas: processes per service.
        preference: where servers come from.
        only: names of what to run.
        follow: whether the stack shall end with this process, however that ends.

    Raises:
        StackError: it could not be started; what was started is stopped again.
    """
    state.create()
    progress = StartProgress(error_console())
    started = not state.supervised()
    try:
        if started:
            broker, database = choose_servers(
                environment, continued(state, preference), progress.say
            )
            plan = Plan(
                rabbitmq=broker,
                mongod=database,
                environment=environment,
                replicas=replicas,
                only=only,
            )
            launching.start(state, plan, follow_parent=follow)
        status = launching.wait_ready(state, progress.update if started else None)
    except (KeyboardInterrupt, click.Abort):
        progress.close()
        if started:
            click.echo("stopping …", err=True)
            launching.stop(state)
        raise
    finally:
        progress.close()
    if status.document is None:
        raise StackError("the supervisor reported no document")
    for notice in status.notices:
        progress.note(notice)
    return started, status.document


def stay_until_interrupted(state: StateDir) -> None:
    """Wait for Ctrl-C (or SIGTERM, or the terminal's end), then stop the stack."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        while state.supervised():
            time.sleep(_POLL)
        click.echo("the stack was stopped from elsewhere", err=True)
    except KeyboardInterrupt:
        click.echo("\nstopping …", err=True)
        launching.stop(state)


def interrupted(number: int, _frame: object) -> None:
    """Handle a signal as Ctrl-C is handled."""
    raise KeyboardInterrupt(number)


@click.command()
@servers_option
def prepare(*, servers: str) -> None:
    """Fetch and install what `up` would, and say where RabbitMQ and MongoDB come from."""
    progress = StartProgress(error_console())
    try:
        broker, database = choose_servers(ambient_settings(), Preference(servers), progress.say)
    finally:
        progress.close()
    click.echo(f"RabbitMQ: {broker.words}")
    click.echo(f"MongoDB: {database.words}")


@click.command()
@state_dir_option
@click.option("--wipe", is_flag=True, help="Remove all data, too.")
def down(*, state: StateDir, wipe: bool) -> None:
    """Stop exactly what `up` started; services finish what they have in hand first."""
    was_running = launching.stop(state, wipe=wipe)
    words = "stopped" if was_running else "nothing was running"
    click.echo(f"{words}{', data removed' if wipe else ''}")


@click.command()
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print the stack document.")
def status(*, state: StateDir, as_json: bool) -> None:
    """Show what runs, since when, and how often it was started again."""
    found = state.read_status() if state.supervised() else None
    if found is None:
        raise StackError(f"no stack runs in {state.root}", advice="start one: postroad up")
    if as_json:
        if found.document is None:
            raise StackError(f"the stack is {found.phase}")
        click.echo(found.document.line())
        return
    show_processes(found)
    if found.document is not None:
        click.echo()
        show_addresses(found.document)


def _what_runs(only: str | None, *, no_sink: bool) -> tuple[str, ...]:
    if only is None:
        return tuple(name for name in EVERYTHING if not (no_sink and name == SINK))
    names = tuple(only.split(","))
    unknown = [name for name in names if name not in EVERYTHING]
    if unknown:
        raise click.BadParameter(f"unknown: {', '.join(unknown)}", param_hint="--only")
    return names
