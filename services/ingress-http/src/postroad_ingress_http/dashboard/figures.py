"""The figures of a period: read from the counters, compared with the period before, as rates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from postroad_common.store.rollups import Rollups
from postroad_ingress_http.dashboard.periods import DAY, HOUR, Period

Counted = Mapping[tuple[int, str], int]
"""Numbers by the first second of their day or hour, and by name."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top: what it counts, what share that is of what, and what it was before."""

    label: str
    value: int
    note: str
    before: int

    @property
    def change(self) -> str:
        """Return by how much it differs from the period before: `+12 %`."""
        if self.before == 0:
            return "" if self.value == 0 else "new"
        share = round(100 * (self.value - self.before) / self.before)
        return f"{share:+,} %" if share else "±0 %"


OF_TAGS = ("accepted", "delivered", "bounced", "complained", "opened_unique", "clicked_unique")
"""The numbers that the line of a tag is made of."""


@dataclass(frozen=True, slots=True)
class TagRow:
    """The figures of one tag as a line of a table."""

    tag: str
    accepted: int
    delivered: str
    bounced: str
    complained: str
    opened: str
    clicked: str


async def read_counts(rollups: Rollups, account: str, period: Period, tag: str) -> Counted:
    """Return the numbers of a period and of the one before, from the counters of days or hours."""
    unit = HOUR if period.step == HOUR else DAY
    form = "%Y-%m-%d" if unit == DAY else "%Y-%m-%dT%H"
    start, end = (
        f"{datetime.fromtimestamp(moment, UTC):{form}}"
        for moment in (period.before.start, period.end - unit)
    )
    return {
        (int(datetime.fromisoformat(rollup.day).replace(tzinfo=UTC).timestamp()), name): number
        for rollup in await rollups.read(account, start, end, tag)
        for name, number in rollup.counts.items()
    }


def tiles(counts: Counted, period: Period) -> list[Tile]:
    """Return the tiles of a period."""
    now, then = period.totals(counts), period.before.totals(counts)

    def tile(label: str, name: str, note: str) -> Tile:
        return Tile(label, now.get(name, 0), note, then.get(name, 0))

    def number(name: str) -> int:
        return now.get(name, 0)

    accepted, delivered = number("accepted"), number("delivered")
    return [
        tile("Accepted", "accepted", "messages"),
        tile("Delivered", "delivered", share(delivered, accepted, "of accepted")),
        tile("Deferred", "deferred_unique", f"messages; {number('deferred'):,} attempts"),
        tile("Failed", "failed", share(number("failed"), accepted, "of accepted")),
        tile(
            "Bounced",
            "bounced",
            f"{number('bounced_hard'):,} hard, {number('bounced_soft'):,} soft",
        ),
        tile("Complained", "complained", share(number("complained"), delivered, "of delivered", 2)),
        tile("Opened", "opened_unique", _reactions(now, "opened", delivered)),
        tile("Clicked", "clicked_unique", _reactions(now, "clicked", delivered)),
    ]


def tag_row(tag: str, counts: Mapping[str, int]) -> TagRow:
    """Return the line of a tag; rates are of delivered messages, that of delivery of accepted."""
    accepted, delivered = counts.get("accepted", 0), counts.get("delivered", 0)

    def rate(name: str, digits: int = 1) -> str:
        return share(counts.get(name, 0), delivered, "", digits)

    return TagRow(
        tag=tag,
        accepted=accepted,
        delivered=share(delivered, accepted, ""),
        bounced=rate("bounced"),
        complained=rate("complained", 2),
        opened=rate("opened_unique"),
        clicked=rate("clicked_unique"),
    )


def _reactions(totals: Mapping[str, int], name: str, delivered: int) -> str:
    times = f"{totals.get(name, 0):,} times, and {totals.get(f'{name}_machine', 0):,} by machines"
    rate = share(totals.get(f"{name}_unique", 0), delivered, "of delivered")
    return f"{rate}; {times}" if rate else f"messages; {times}"


def share(part: int, whole: int, base: str, digits: int = 1) -> str:
    """Return what part that is of the whole: `98.2 % of accepted`; empty where there is none."""
    return f"{100 * part / whole:.{digits}f} % {base}".strip() if whole else ""
