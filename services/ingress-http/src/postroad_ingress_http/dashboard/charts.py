"""Bar charts as SVG, drawn on the server. Colours come from the style sheet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from markupsafe import Markup

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 6, 12, 24
_GRID_LINES = 4
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class _Shape:
    """A size in the units of the drawing, and how many labels fit below it."""

    name: str
    width: int
    height: int
    labels: int


_WIDE = _Shape("wide", 960, 210, 8)
_NARROW = _Shape("narrow", 360, 190, 4)


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of bar: its name, and a value per bucket."""

    name: str
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Period:
    """Buckets of equal length: from `start` (Unix seconds) on, `count` times `step` seconds."""

    start: int
    step: int
    count: int

    @classmethod
    def until(cls, now: float, seconds: int, step: int) -> "Period":
        """Return the buckets that cover the `seconds` before `now`, the last one holding `now`."""
        last = int(now) // step * step
        count = seconds // step
        return cls(last - (count - 1) * step, step, count)

    def sums(self, counts: Mapping[tuple[int, str], int], name: str) -> list[int]:
        """Return the numbers of `name` in each bucket; `counts` has them by hour and name."""
        values = [0] * self.count
        for (hour, event), number in counts.items():
            bucket = (hour - self.start) // self.step
            if event == name and 0 <= bucket < self.count:
                values[bucket] += number
        return values

    def label(self, bucket: int) -> str:
        """Return the time of a bucket for people."""
        moment = datetime.fromtimestamp(self.start + bucket * self.step, UTC)
        if self.step >= _DAY:
            return f"{moment:%d %b}"
        return f"{moment:%a %H:%M}" if self.step * self.count > 2 * _DAY else f"{moment:%H:%M}"


def bars(title: str, period: Period, series: Sequence[Series]) -> Markup:
    """Bars beside each other for each bucket, with a legend that has the totals.

    Drawn in two shapes, of which the style sheet shows the one that fits the screen.
    """
    pieces = [_svg(title, period, series, shape) for shape in (_WIDE, _NARROW)]
    pieces.append('<ul class="legend">')
    pieces.extend(
        f'<li><i class="s{number + 1}"></i>{escape(item.name)}: {sum(item.values):,}</li>'
        for number, item in enumerate(series)
    )
    pieces.append("</ul>")
    return Markup("".join(pieces))  # noqa: S704 - every text in it is escaped above


def _svg(title: str, period: Period, series: Sequence[Series], shape: _Shape) -> str:
    top = _round_up(max((max(item.values, default=0) for item in series), default=0))
    floor = shape.height - _BOTTOM
    right = shape.width - _RIGHT
    head = f'viewBox="0 0 {shape.width} {shape.height}" role="img" aria-label="{escape(title)}"'
    pieces = [f'<svg class="chart {shape.name}" {head}>']
    for line in range(_GRID_LINES + 1):
        y = floor - (floor - _TOP) * line / _GRID_LINES
        value = _short(top * line / _GRID_LINES)
        pieces.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        pieces.append(f'<text x="{_LEFT - 7}" y="{y + 4}" text-anchor="end">{value}</text>')
    slot = (right - _LEFT) / period.count
    every = max(1, -(-period.count // shape.labels))
    for bucket in range(period.count):
        left = _LEFT + bucket * slot
        pieces.extend(_group(period.label(bucket), bucket, series, left, slot, floor, top))
        if bucket % every == 0:
            pieces.append(
                f'<text x="{left + slot / 2:.1f}" y="{shape.height - 6}" text-anchor="middle">'
                f"{escape(period.label(bucket))}</text>"
            )
    pieces.append("</svg>")
    return "".join(pieces)


def _group(  # noqa: PLR0917 - coordinates
    label: str,
    bucket: int,
    series: Sequence[Series],
    left: float,
    slot: float,
    floor: float,
    top: int,
) -> Iterator[str]:
    """Return the bars of one bucket."""
    bar = min(18.0, slot * 0.8 / len(series))
    gap = (slot - bar * len(series)) / 2
    for number, item in enumerate(series):
        value = item.values[bucket]
        if value:
            height = max(1.5, (floor - _TOP) * value / top)
            yield (
                f'<rect class="s{number + 1}" x="{left + gap + number * bar:.1f}" '
                f'y="{floor - height:.1f}" width="{bar * 0.9:.1f}" height="{height:.1f}" '
                f'rx="1"><title>{escape(label)}: {value:,} {escape(item.name)}</title></rect>'
            )


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
