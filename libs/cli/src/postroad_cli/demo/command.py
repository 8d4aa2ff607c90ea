"""`postroad demo`: starts a stack if none runs, and shows the life of a mail through it."""

import contextlib
import shutil
import signal
import sys
import time
from pathlib import Path

import click

from postroad_cli.demo.failure import DemoFailedError
from postroad_cli.demo.screen import Screen
from postroad_cli.demo.steps import Demo
from postroad_cli.local.addresses import addresses
from postroad_cli.local.options import ambient_settings, servers_option, settings_option
from postroad_cli.local.starting import bring_up, interrupted, stay_until_interrupted
from postroad_cli.options import state_dir_option
from postroad_cli.terminal import console
from postroad_stack import launching, logs
from postroad_stack.document import StackDocument
from postroad_stack.errors import StartFailedError
from postroad_stack.servers.choose import Preference
from postroad_stack.state_dir import StateDir
from postroad_stack.status import Failure


@click.command()
@state_dir_option
@click.option("--stay", is_flag=True, help="Stay in the foreground afterwards, until Ctrl-C.")
@settings_option
@servers_option
def demo(*, state: StateDir, stay: bool, settings: dict[str, str], servers: str) -> None:
    """Send a real mail through a whole Postroad and show everything that happens to it.

    Uses the stack that runs in the state dir, or starts one and stops it at the end. Exit code 0
    only if every step really happened.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    screen = Screen(console())
    began = time.monotonic()
    screen.title("Postroad", "a mail's whole life; each tick was checked, times since acceptance")
    started, document = bring_up(
        state,
        environment={**ambient_settings(), **settings},
        replicas={},
        preference=Preference(servers),
        follow=True,
    )
    try:
        _show_stack(screen, document, time.monotonic() - began, started=started)
        ids = _run(screen, state, document)
        screen.chapter("Everything happened.")
        screen.chapter("Where everything is")
        for name, value in addresses(document, secrets=True):
            screen.row(name, value)
        if stay:
            screen.chapter("Postroad runs.", "Ctrl-C stops it")
            where = "" if state.is_default() else f" --state-dir {state.root}"
            screen.note(f"in another terminal: {_own_name()} trace {ids[0]}{where}")
            stay_until_interrupted(state)
        elif started:
            screen.chapter("Stopping.", "`make run` shows the same and stays")
    finally:
        if started:
            launching.stop(state)


def _own_name() -> str:
    """Return how this command is called from here: by its path, unless the PATH finds it."""
    name = Path(sys.argv[0])
    if shutil.which(name.name) == str(name):
        return name.name
    with contextlib.suppress(ValueError):
        return str(name.absolute().relative_to(Path.cwd()))
    return str(name)


def _show_stack(screen: Screen, document: StackDocument, seconds: float, *, started: bool) -> None:
    with screen.step("ready", "") as step:
        services = sum(len(document.pids.get(name, [])) for name in document.metrics)
        services -= len(document.pids.get("rabbitmq", []))
        step.fact(
            f"RabbitMQ, MongoDB, {services} services, a mail sink"
            + ("" if started else " (were running already)")
        )
        step.elapsed = seconds


def _run(screen: Screen, state: StateDir, document: StackDocument) -> list[str]:
    try:
        return Demo(document, screen).run()
    except DemoFailedError as error:
        log = state.log_of(error.logs[0] if error.logs else "supervisor")
        raise StartFailedError(
            Failure(
                process="demo",
                reason=str(error),
                log=str(log),
                tail=logs.tail(log),
                advice=error.advice and f"{error.advice} in {state.logs}",
            )
        ) from None
