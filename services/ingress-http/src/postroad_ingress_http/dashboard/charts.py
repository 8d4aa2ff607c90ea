"""Bar charts as SVG, drawn on the server. Colours come from the style sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from markupsafe import Markup

WIDTH = 960
HEIGHT = 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 6, 12, 24
_GRID_LINES = 4
_LABELS = 8
_DAY = 86_400


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
        """The buckets that cover the `seconds` before `now`, the last one holding `now`."""
        last = int(now) // step * step
        count = seconds // step
        return cls(last - (count - 1) * step, step, count)

    def sums(self, counts: Mapping[tuple[int, str], int], name: str) -> list[int]:
        """The numbers of `name` in each bucket; `counts` has them by hour and name."""
        values = [0] * self.count
        for (hour, event), number in counts.items():
            bucket = (hour - self.start) // self.step
            if event == name and 0 <= bucket < self.count:
                values[bucket] += number
        return values

    def label(self, bucket: int) -> str:
        """The time of a bucket for people."""
        moment = datetime.fromtimestamp(self.start + bucket * self.step, UTC)
        return f"{moment:%d %b}" if self.step >= _DAY else f"{moment:%H:%M}"


def bars(title: str, period: Period, series: Sequence[Series]) -> Markup:
    """Bars beside each other for each bucket, with a legend that has the totals."""
    top = _round_up(max((max(item.values, default=0) for item in series), default=0))
    inner = HEIGHT - _TOP - _BOTTOM
    slot = (WIDTH - _LEFT - _RIGHT) / period.count
    bar = max(1.0, min(18.0, slot * 0.78 / len(series)))
    pieces = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">'
    ]
    for line in range(_GRID_LINES + 1):
        y = _TOP + inner * line / _GRID_LINES
        value = top * (_GRID_LINES - line) / _GRID_LINES
        pieces.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        pieces.append(f'<text x="{_LEFT - 7}" y="{y + 4}" text-anchor="end">{_short(value)}</text>')
    every = max(1, -(-period.count // _LABELS))
    for bucket in range(period.count):
        left = _LEFT + bucket * slot + (slot - bar * len(series)) / 2
        for number, item in enumerate(series):
            value = item.values[bucket]
            if value:
                height = max(1.5, inner * value / top)
                pieces.append(
                    f'<rect class="s{number + 1}" x="{left + number * bar:.1f}" '
                    f'y="{_TOP + inner - height:.1f}" width="{max(0.8, bar - 1):.1f}" '
                    f'height="{height:.1f}" rx="1.5"><title>{escape(period.label(bucket))}: '
                    f"{value:,} {escape(item.name)}</title></rect>"
                )
        if bucket % every == 0:
            x = _LEFT + (bucket + 0.5) * slot
            pieces.append(
                f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">'
                f"{escape(period.label(bucket))}</text>"
            )
    pieces.append('</svg><ul class="legend">')
    pieces.extend(
        f'<li><i class="s{number + 1}"></i>{escape(item.name)}: {sum(item.values):,}</li>'
        for number, item in enumerate(series)
    )
    pieces.append("</ul>")
    return Markup("".join(pieces))  # noqa: S704 - every text in it is escaped above


def _round_up(value: int) -> int:
    """The next number that four grid lines divide well."""
    scale = 1
    while True:
        for step in (4, 8, 20):
            if value <= step * scale:
                return step * scale
        scale *= 10


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"
