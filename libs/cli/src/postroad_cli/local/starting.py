"""Starts a stack with its progress on the terminal, and stays with it until Ctrl-C."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from postroad_cli.local.differences import differences
from postroad_cli.local.progress import StartProgress
from postroad_cli.terminal import echo, error_console
from postroad_stack import launching
from postroad_stack.document import StackDocument
from postroad_stack.errors import StackError
from postroad_stack.plan import EVERYTHING, LEAST_ROOM_MB, StackPlan
from postroad_stack.servers.choose import (
    Preference,
    check_cluster,
    choose_servers,
    continued,
    continued_nodes,
)
from postroad_stack.servers.prometheus import find_program
from postroad_stack.state_dir import StateDir

_POLL_SECONDS = 0.5


def bring_up(
    state: StateDir,
    *,
    environment: dict[str, str],
    replicas: dict[str, int],
    preference: Preference,
    only: tuple[str, ...] = EVERYTHING,
    prometheus: bool = False,
    nodes: int = 1,
    follow: bool,
) -> tuple[bool, StackDocument]:
    """Start a stack, or find it running; return whether it was started, and its document.

    Args:
        state: state dir.
        environment: settings for the services.
        replicas: processes per service.
        preference: where servers come from.
        only: names of what to run.
        prometheus: whether Prometheus runs, too.
        nodes: nodes of RabbitMQ, and members of MongoDB's replica set.
        follow: whether the stack shall end with this process, however that ends.

    Raises:
        StackError: it could not be started; what was started is stopped again.
    """
    state.create()
    progress = StartProgress(error_console())
    started = not state.supervised()
    try:
        with _signals_interrupt():
            if started:
                plan = _choose_plan(
                    state,
                    progress.say,
                    preference,
                    environment=environment,
                    replicas=replicas,
                    only=only,
                    nodes=nodes,
                    prometheus=prometheus,
                )
                if warning := too_little_room(state.root, state.room_mb()):
                    progress.note(warning)
                launching.start(state, plan, follow_parent=follow)
            elif missed := differences(
                state,
                environment=environment,
                replicas=replicas,
                nodes=nodes,
                prometheus=prometheus,
            ):
                progress.note(
                    f"this stack runs already, without {', '.join(missed)}: `postroad down` first"
                )
            status = launching.wait_ready(state, progress.update if started else None)
    except (KeyboardInterrupt, click.Abort):
        progress.close()
        if started:
            echo("stopping …", err=True)
            launching.stop(state)
        raise
    finally:
        progress.close()
    if status.document is None:
        raise StackError("the supervisor reported no document")
    for notice in status.notices:
        progress.note(notice)
    return started, status.document


def too_little_room(folder: Path, room_mb: int) -> str:
    """Return what to say of a disk with this many megabytes free; '' where it has enough."""
    if room_mb > 2 * LEAST_ROOM_MB:
        return ""
    return (
        f"only {room_mb} MB are free in {folder}: make room, "
        f"RabbitMQ takes no mail with less than {LEAST_ROOM_MB} MB"
    )


def _choose_plan(
    state: StateDir,
    say: Callable[[str], None],
    preference: Preference,
    *,
    environment: dict[str, str],
    replicas: dict[str, int],
    only: tuple[str, ...],
    nodes: int,
    prometheus: bool,
) -> StackPlan:
    broker, database = choose_servers(environment, continued(state, preference), say)
    nodes = continued_nodes(state, nodes)
    check_cluster(nodes, broker, database)
    return StackPlan(
        rabbitmq=broker,
        mongod=database,
        environment=environment,
        replicas=replicas,
        only=only,
        nodes=nodes,
        prometheus=find_program(say) if prometheus else None,
    )


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a start as Ctrl-C does, so that it leaves nothing running."""
    before = {
        number: signal.signal(number, interrupted) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stay_until_interrupted(state: StateDir) -> None:
    """Wait for Ctrl-C (or SIGTERM, or the terminal's end), then stop the stack."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        while state.supervised():
            time.sleep(_POLL_SECONDS)
        echo("the stack was stopped from elsewhere", err=True)
    except KeyboardInterrupt:
        echo("\nstopping …", err=True)
        launching.stop(state)


def interrupted(number: int, _frame: object) -> None:
    """Handle a signal as Ctrl-C is handled."""
    raise KeyboardInterrupt(number)
