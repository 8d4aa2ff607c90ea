"""The figures of a period: read from the counters, compared with the period before, as rates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from postroad_common.store.rollupparts import PROVIDER
from postroad_common.store.rollups import Rollups
from postroad_ingress_http.dashboard.periods import Period
from postroad_ingress_http.dashboard.subjects import days_of
from postroad_ingress_http.history.statistics import Subject

Counted = Mapping[tuple[int, str], int]
"""Numbers by the first second of their day or hour, and by name."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top: what it counts, what share that is of what, and what it was before.

    `link` is the page with that mail, from the first day on.
    """

    label: str
    value: int
    note: str
    before: int
    link: str = ""

    @property
    def change(self) -> str:
        """Return by how much it differs from the period before: `+12 %`."""
        if self.before == 0:
            return "" if self.value == 0 else "new"
        share = round(100 * (self.value - self.before) / self.before)
        return f"{share:+,} %" if share else "±0 %"


async def read_counts(rollups: Rollups, account: str, period: Period, subject: Subject) -> Counted:
    """Return the numbers of a period and of the one before, from the counters of days or hours."""
    (start, _), (_, end) = days_of(period.before), days_of(period)
    return {
        (moment, name): number
        for rollup in await rollups.read(account, start, end, *subject)
        for moment in (int(datetime.fromisoformat(rollup.day).replace(tzinfo=UTC).timestamp()),)
        for name, number in rollup.counts.items()
    }


def tiles(counts: Counted, period: Period, subject: Subject) -> list[Tile]:
    """Return the tiles of a period; nothing is accepted for a provider, but much has ended."""
    now, then = period.totals(counts), period.before.totals(counts)

    def tile(label: str, name: str, note: str) -> Tile:
        return Tile(label, now.get(name, 0), note, then.get(name, 0), _link(name, subject, period))

    def number(name: str) -> int:
        return now.get(name, 0)

    accepted, delivered, failed = number("accepted"), number("delivered"), number("failed")
    whole, base = accepted, "of accepted"
    if subject.kind == PROVIDER:
        whole, base = delivered + failed, "of delivered and failed"
    tests = "1 test" if number("tested") == 1 else f"{number('tested'):,} tests"
    tested = f"messages, and {tests}" if number("tested") else "messages"
    return [
        *([tile("Accepted", "accepted", tested)] if subject.kind != PROVIDER else []),
        tile("Delivered", "delivered", share(delivered, whole, base)),
        tile("Deferred", "deferred_unique", f"messages; {_attempts(number('deferred'))}"),
        tile("Failed", "failed", share(failed, whole, base)),
        tile(
            "Bounced",
            "bounced",
            f"{number('bounced_hard'):,} hard, {number('bounced_soft'):,} soft",
        ),
        tile("Complained", "complained", share(number("complained"), delivered, "of delivered", 2)),
        tile("Opened", "opened_unique", _reactions(now, "opened", delivered)),
        tile("Clicked", "clicked_unique", _reactions(now, "clicked", delivered)),
    ]


_PLACES = {
    "delivered": "messages?state=delivered",
    "failed": "messages?state=failed",
    "bounced": "bounces?event=bounced",
    "complained": "messages?complained=true",
    "opened_unique": "messages?opened=true",
    "clicked_unique": "messages?clicked=true",
}
_SEARCHED = {"tag": "tag", "login": "login"}


def _link(name: str, subject: Subject, period: Period) -> str:
    """Return where the mail of a number is found; nothing where a search cannot tell it apart."""
    place = _PLACES.get(name)
    if place is None or (subject.kind and subject.kind not in _SEARCHED):
        return ""
    if subject.kind and place.startswith("bounces"):
        return ""
    more = {"start": f"{datetime.fromtimestamp(period.start, UTC):%Y-%m-%d}"}
    if subject.kind:
        more[_SEARCHED[subject.kind]] = subject.name
    return f"/dashboard/{place}&{urlencode(more)}"


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number:,} attempts"


def _reactions(totals: Mapping[str, int], name: str, delivered: int) -> str:
    number, machines = totals.get(name, 0), totals.get(f"{name}_machine", 0)
    times = "once" if number == 1 else f"{number:,} times"
    times += f", and {machines:,} by machines" if machines else ""
    rate = share(totals.get(f"{name}_unique", 0), delivered, "of delivered")
    return f"{rate}; {times}" if rate else f"messages; {times}"


def share(part: int, whole: int, base: str, digits: int = 1) -> str:
    """Return what part that is of the whole: `98.2 % of accepted`; empty where there is none."""
    return f"{100 * part / whole:.{digits}f} % {base}".strip() if whole else ""
