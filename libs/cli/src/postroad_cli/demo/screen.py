"""Shows the steps of the demo: with colours and a spinner on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator

from rich.text import Text

from postroad_cli.console import Console
from postroad_cli.times import duration

_NAME_WIDTH = 12
_TIME_WIDTH = 9


class DemoStep:
    """One step while it is being done; collects the facts to show under its tick."""

    def __init__(self) -> None:
        self.facts: list[str] = []
        self.elapsed: float | None = None

    def fact(self, text: str) -> None:
        """Add a checked fact."""
        self.facts.append(text)


class Screen:
    """Prints the story.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def title(self, text: str, beside: str = "") -> None:
        """Print the headline."""
        self._line(Text.assemble((text, "bold"), ("  " + beside if beside else "", "dim")))

    def chapter(self, text: str, beside: str = "") -> None:
        """Begin a new part of the story."""
        self._line(Text())
        self.title(text, beside)

    def note(self, text: str) -> None:
        """Print a line without a tick."""
        self._line(Text(f"  {text}", style="dim"))

    def row(self, name: str, value: str) -> None:
        """Print a name and its value."""
        self._line(Text.assemble((f"  {name:<20}", "dim"), value))

    @contextlib.contextmanager
    def step(self, name: str, doing: str) -> Iterator[DemoStep]:
        """Do one step: a spinner meanwhile, then a tick with its facts, or a cross.

        The time shown is the step's `elapsed` (seconds) where it was set, else how long it took.
        """
        step = DemoStep()
        began = time.monotonic()
        spinning = self._console.status(Text(f"{name}: {doing}"), spinner="dots")
        with spinning if self._console.is_terminal else contextlib.nullcontext():
            try:
                yield step
            except BaseException:
                self._row("✗", "bold red", name, None, [doing])
                raise
        if step.elapsed is None:
            step.elapsed = time.monotonic() - began
        self._row("✓", "bold green", name, step.elapsed, step.facts)

    def _row(
        self, mark: str, style: str, name: str, elapsed: float | None, facts: list[str]
    ) -> None:
        shown = "" if elapsed is None else duration(elapsed)
        self._line(
            Text.assemble(
                "  ",
                (mark, style),
                f" {name:<{_NAME_WIDTH}}",
                (f"{shown:>{_TIME_WIDTH}}", "cyan"),
                "   ",
                facts[0] if facts else "",
            )
        )
        indent = " " * (2 + 1 + 1 + _NAME_WIDTH + _TIME_WIDTH + 3)
        for fact in facts[1:]:
            self._line(Text(indent + fact))

    def _line(self, text: Text) -> None:
        # Whole lines: a shell that reads them later shall find an id or a URL in one piece.
        self._console.print(text, soft_wrap=True)
