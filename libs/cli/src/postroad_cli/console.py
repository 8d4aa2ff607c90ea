"""A console for colours, tables and live output that scrubs the text of whatever it is given."""

from collections.abc import Iterable

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from typing_extensions import override

from postroad_cli.terminal import scrub


class Console(rich.console.Console):
    """Rich's console; control characters within the rendered text are replaced."""

    @override
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Rich's own control codes move its live display; all other text comes from outside.
            yield segment if segment.control else segment._replace(text=scrub(segment.text))
