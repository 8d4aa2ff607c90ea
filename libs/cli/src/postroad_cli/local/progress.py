"""Shows how the processes of a stack become ready."""

import time

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.status import Status
from rich.table import Table
from rich.text import Text

from postroad_cli.console import Console
from postroad_stack.status import ProcessState, StackStatus

_SLOW_SECONDS = 8.0  # after which it is worth saying what a process waits for


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
        self._print_changes(status)

    def _print_changes(self, status: StackStatus) -> None:
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
        slow = process.started is not None and time.time() - process.started > _SLOW_SECONDS
        note = process.note if slow or process.state is ProcessState.DOWN else ""
        table.add_row(mark, Text(process.label), Text(note, style="dim"))
    return Group(Text("Starting Postroad", style="bold"), table)
