"""Stacked bars as SVG, drawn on the server, with the numbers as a table behind them.

Colours come from the style sheet. Each bucket can be focused, and shows its numbers while it is,
or while the pointer is over it: no script is needed for that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from html import escape

from markupsafe import Markup

from postroad_ingress_http.dashboard.periods import Period

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 6, 30, 24
_GRID_LINES = 4


@dataclass(frozen=True, slots=True)
class _Shape:
    """A size in the units of the drawing, and how many labels fit below it."""

    name: str
    width: int
    height: int
    labels: int


_WIDE = _Shape("wide", 960, 228, 8)
_NARROW = _Shape("narrow", 360, 208, 4)


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of number, with a value per bucket; one that is not `drawn` is only told."""

    name: str
    values: Sequence[int]
    drawn: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars of one period in the zone of the visitor."""

    title: str
    period: Period
    series: Sequence[Series]
    zone: tzinfo = UTC

    def html(self) -> Markup:
        """Return the bars with a legend that has the totals, and the table.

        Drawn in two shapes, of which the style sheet shows the one that fits the screen.
        """
        pieces = [piece for shape in (_WIDE, _NARROW) for piece in self._svg(shape)]
        pieces += [*self._legend(), *self._table()]
        return Markup("".join(pieces))  # noqa: S704 - every text in it is escaped

    @property
    def _drawn(self) -> list[Series]:
        return [item for item in self.series if item.drawn]

    def _svg(self, shape: _Shape) -> Iterator[str]:
        heights = [sum(item.values[at] for item in self._drawn) for at in range(self.period.count)]
        top = _round_up(max(heights, default=0))
        floor, right = shape.height - _BOTTOM, shape.width - _RIGHT
        size = f'viewBox="0 0 {shape.width} {shape.height}"'
        name = f'role="group" aria-label="{escape(self.title)}"'
        yield f'<svg class="chart {shape.name}" {size} {name}>'
        for line in range(_GRID_LINES + 1):
            y = floor - (floor - _TOP) * line / _GRID_LINES
            yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
            value = _short(top * line / _GRID_LINES)
            yield f'<text x="{_LEFT - 7}" y="{y + 4}" text-anchor="end">{value}</text>'
        slot = (right - _LEFT) / self.period.count
        every = max(1, -(-self.period.count // shape.labels))
        for bucket in range(self.period.count):
            left = _LEFT + bucket * slot
            if bucket % every == 0:
                yield (
                    f'<text x="{left + slot / 2:.1f}" y="{shape.height - 6}" text-anchor="middle">'
                    f"{escape(self.period.label(bucket, self.zone))}</text>"
                )
        for bucket in range(self.period.count):
            yield from self._bar(bucket, slot, floor, top)
        yield "</svg>"

    def _bar(self, bucket: int, slot: float, floor: float, top: int) -> Iterator[str]:
        """Yield the bar of one bucket: a group that is focused, its parts and its numbers."""
        left = _LEFT + bucket * slot
        width = max(min(28.0, slot * 0.8), 1.0)
        told = escape(self._told(bucket))
        yield f'<g class="bar" tabindex="0" role="img" aria-label="{told}">'
        size = f'width="{slot:.1f}" height="{floor - _TOP}"'
        yield f'<rect class="hit" x="{left:.1f}" y="{_TOP}" {size}/>'
        base = floor
        for number, item in enumerate(self._drawn, 1):
            value = item.values[bucket]
            if value:
                height = max(1.5, (floor - _TOP) * value / top)
                base -= height
                yield (
                    f'<rect class="s{number}" x="{left + (slot - width) / 2:.1f}" '
                    f'y="{base:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
                )
        yield f'<text class="told" x="{_LEFT}" y="{_TOP - 14}">{told}</text></g>'

    def _told(self, bucket: int) -> str:
        numbers = [
            f"{item.values[bucket]:,} {item.name}" for item in self.series if item.values[bucket]
        ]
        return f"{self.period.name(bucket, self.zone)}: {', '.join(numbers) or 'nothing'}"

    def _legend(self) -> Iterator[str]:
        yield '<ul class="legend">'
        for number, item in enumerate(self._drawn, 1):
            yield f'<li><i class="s{number}"></i>{escape(item.name)}: {sum(item.values):,}</li>'
        yield "</ul>"

    def _table(self) -> Iterator[str]:
        """Yield the numbers as a table, the newest first."""
        yield '<details class="numbers"><summary>As a table</summary>'
        yield f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(self.title)}">'
        yield "<table>"
        yield f'<caption class="sr">{escape(self.title)}</caption><thead><tr><th>Time</th>'
        for item in self.series:
            yield f'<th class="number">{escape(item.name).capitalize()}</th>'
        yield "</tr></thead><tbody>"
        for bucket in reversed(range(self.period.count)):
            yield f'<tr><th scope="row">{escape(self.period.name(bucket, self.zone))}</th>'
            for item in self.series:
                yield f'<td class="number">{item.values[bucket]:,}</td>'
            yield "</tr>"
        yield "</tbody></table></div></details>"


def _round_up(value: int) -> int:
    """Return the next number that four grid lines divide well."""
    scale = 1
    while True:
        for step in (4, 8, 12, 16, 20, 32):
            if value <= step * scale:
                return step * scale
        scale *= 10


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"
