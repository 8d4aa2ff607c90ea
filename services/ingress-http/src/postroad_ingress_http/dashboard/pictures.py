"""Which charts there are, and of which numbers."""

from dataclasses import dataclass
from datetime import tzinfo

from markupsafe import Markup

from postroad_ingress_http.dashboard.charts import Chart, Series
from postroad_ingress_http.dashboard.figures import Counted
from postroad_ingress_http.dashboard.periods import Period

_KINDS = {
    "Mail": (
        (("delivered", "delivered"), ("suppressed", "not sent: suppressed"), ("failed", "failed")),
        (("accepted", "accepted"), ("deferred_unique", "deferred for a while")),
    ),
    "Opens and clicks": (
        (("opened", "opens by people"), ("clicked", "clicks by people")),
        (("opened_machine", "opens by machines"), ("clicked_machine", "clicks by machines")),
    ),
    "Bounces and complaints": (
        (
            ("bounced_hard", "hard bounces"),
            ("bounced_soft", "soft bounces"),
            ("complained", "complaints"),
            ("unsubscribed", "unsubscribed"),
        ),
        (),
    ),
}
"""By title: what is stacked, and what is only told; counter and text."""
MAIL, REACTIONS, RETURNS = _KINDS


@dataclass(frozen=True, slots=True)
class TitledChart:
    """A chart with its heading."""

    title: str
    html: Markup


def pictures(counts: Counted, period: Period, zone: tzinfo, *titles: str) -> list[TitledChart]:
    """Return these charts of the period."""
    sums = period.sums(counts)
    return [
        TitledChart(
            title,
            Chart(
                f"{title} over time",
                period,
                [
                    Series(text, sums[name], drawn=group is _KINDS[title][0])
                    for group in _KINDS[title]
                    for name, text in group
                ],
                zone,
            ).html(),
        )
        for title in titles
    ]
