"""How the command shows things: errors, the progress of a start, the addresses of a stack."""

import time

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.status import Status
from rich.table import Table
from rich.text import Text

from postroad_stack.document import StackDocument
from postroad_stack.errors import StackError, StartFailedError
from postroad_stack.rest import RestError
from postroad_stack.status import ProcessState, ProcessStatus, StackStatus

_HOUR = 3600
_MINUTE = 60
_SLOW = 8.0  # seconds after which it is worth saying what a process waits for


def error_console() -> Console:
    """Return a console on stderr, where progress goes, so that stdout stays for results."""
    return Console(stderr=True, highlight=False)


def show_error(error: StackError | RestError) -> None:
    """Say on stderr what went wrong, the log lines that tell why, and what to do."""
    console = error_console()
    console.print(Text.assemble(("✗ ", "bold red"), (str(error), "bold")), soft_wrap=True)
    if isinstance(error, StartFailedError):
        failure = error.failure
        if failure.tail:
            console.print(Text(f"  last lines of {failure.log}:", style="dim"))
            for line in failure.tail:
                console.print(Text(f"  │ {line}"), soft_wrap=True)
    if isinstance(error, StackError) and error.advice:
        console.print(Text(f"  → {error.advice}"), soft_wrap=True)
    if isinstance(error, RestError) and error.status == 0:
        console.print(Text("  → is it running? see: postroad status"))


class StartProgress:
    """Shows how the processes become ready: a live table on a terminal, lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._busy: Status | None = None
        self._said: set[tuple[str, ProcessState, int]] = set()
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Show a step before the processes start, as long as it takes on a terminal."""
        self._rest()
        if self._console.is_terminal:
            self._busy = self._console.status(Text(text), spinner="dots")
            self._busy.start()
        else:
            self.note(text)

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self._rest()
        self._console.print(Text.assemble(("· ", "dim"), text), soft_wrap=True)

    def update(self, status: StackStatus) -> None:
        """Show a new status."""
        self._rest()
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=8, transient=True)
                self._live.start()
            self._live.update(_start_table(status))
            return
        for process in status.processes:
            key = (process.label, process.state, process.restarts)
            if key in self._said or process.state is ProcessState.WAITING:
                continue
            self._said.add(key)
            if process.state in {ProcessState.READY, ProcessState.DOWN}:
                note = f": {process.note}" if process.note else ""
                seconds = time.monotonic() - self._began
                self._console.print(
                    Text(f"{seconds:5.1f} s  {process.label} {process.state}{note}")
                )

    def close(self) -> None:
        """Take everything that moves off the screen."""
        self._rest()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _rest(self) -> None:
        if self._busy is not None:
            self._busy.stop()
            self._busy = None


def _start_table(status: StackStatus) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for process in status.processes:
        match process.state:
            case ProcessState.READY:
                mark: RenderableType = Text("✓", style="green")
            case ProcessState.DOWN:
                mark = Text("✗", style="red")
            case _:
                mark = Spinner("dots", style="cyan")
        slow = process.started is not None and time.time() - process.started > _SLOW
        note = process.note if slow or process.state is ProcessState.DOWN else ""
        table.add_row(mark, Text(process.label), Text(note, style="dim"))
    return Group(Text("Starting Postroad", style="bold"), table)


def show_processes(status: StackStatus) -> None:
    """Print the table of `postroad status` on stdout."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("process", "state", "pid", "up", "restarts", ""):
        table.add_column(column, justify="right" if column in {"pid", "restarts"} else "left")
    for process in status.processes:
        style = {"ready": "green", "down": "red"}.get(process.state, "yellow")
        table.add_row(
            process.label,
            Text(process.state, style=style),
            str(process.pid or "-"),
            _age(process),
            str(process.restarts),
            Text(process.note, style="dim"),
        )
    console.print(table)
    for notice in status.notices:
        console.print(Text(f"note: {notice}"))


def show_addresses(document: StackDocument) -> None:
    """Print where everything is, and the logins, on stdout."""
    rows = addresses(document)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{click.style(f'{name:<{width}}', dim=True)}  {value}")


def addresses(document: StackDocument) -> list[tuple[str, str]]:
    """Return the addresses and logins of a stack, with their names."""
    rows: list[tuple[str, str]] = []
    if document.dashboard:
        rows += [
            ("dashboard", document.dashboard.url),
            ("  login", f"{document.dashboard.email} / {document.dashboard.password}"),
        ]
    if document.sink:
        rows += [("mail sink", document.sink.http)]
    if document.smtp and document.smtps:
        rows += [
            ("SMTP submission", f"{document.smtp.host}:{document.smtp.port} (STARTTLS)"),
            ("SMTP over TLS", f"{document.smtps.host}:{document.smtps.port}"),
        ]
    if document.credential:
        rows += [("  login", f"{document.credential.username} / {document.credential.password}")]
    if document.mx:
        rows += [("returned mail (MX)", f"{document.mx.host}:{document.mx.port}")]
    if document.http:
        rows += [("REST API", f"{document.http}/docs")]
    if document.token:
        rows += [("  token", document.token)]
    if document.tracker:
        rows += [("tracker", document.tracker)]
    return [
        *rows,
        ("CA certificate", document.ca),
        ("RabbitMQ", document.amqp),
        ("MongoDB", document.mongodb),
    ]


def _age(process: ProcessStatus) -> str:
    if process.started is None or process.state is ProcessState.STOPPED:
        return "-"
    seconds = max(0, int(time.time() - process.started))
    if seconds >= _HOUR:
        return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE} min"
    if seconds >= _MINUTE:
        return f"{seconds // _MINUTE} min {seconds % _MINUTE} s"
    return f"{seconds} s"
