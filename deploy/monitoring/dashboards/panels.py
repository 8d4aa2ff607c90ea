"""How a dashboard of ours looks: rows of time series over one Prometheus, chosen at the top.

Dashboards are written in Python with the Grafana Foundation SDK and kept as JSON in `../grafana`,
which is what Grafana reads. `../generate` writes it, and a test compares the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "postroad"
HEIGHT = 8
_WIDE = 24


@dataclass(frozen=True)
class Query:
    """An expression, and how its lines are named (`{{label}}`)."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """Some queries in one picture. `unit` is one of Grafana's, as `s`, `mps`, `bytes`.

    `now` shows the present value as a number instead of a line. `stacked` lines add up.
    """

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    text: str = ""
    now: bool = False
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    """Panels beside each other, of one width."""

    title: str
    panels: Sequence[Panel] = field(default_factory=tuple)


def board(uid: str, title: str, text: str, rows: Sequence[Row]) -> dashboard.Dashboard:
    """Return a dashboard; its `uid` stands in links to it."""
    made = (
        dashboard.Dashboard(title)
        .uid(f"postroad-{uid}")
        .description(text)
        .tags([TAG])
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
        .link(
            dashboard.DashboardLink("Postroad")
            .type("dashboards")
            .tags([TAG])
            .as_dropdown(as_dropdown=True)
            .keep_time(keep_time=True)
        )
    )
    for row in rows:
        made = made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(_panel(panel, _WIDE // len(row.panels)))
    return made


def _panel(panel: Panel, width: int) -> timeseries.Panel | stat.Panel:
    made: timeseries.Panel | stat.Panel
    if panel.now:
        made = stat.Panel().graph_mode(shapes.BigValueGraphMode.AREA)
    else:
        made = (
            timeseries.Panel()
            .line_width(1)
            .fill_opacity(25 if panel.stacked else 8)
            .show_points(shapes.VisibilityMode.NEVER)
            .legend(
                common.VizLegendOptions()
                .display_mode(shapes.LegendDisplayMode.LIST)
                .placement(shapes.LegendPlacement.BOTTOM)
                .show_legend(show_legend=True)
            )
            .tooltip(
                common.VizTooltipOptions()
                .mode(shapes.TooltipDisplayMode.MULTI)
                .sort(shapes.SortOrder.DESCENDING)
            )
        )
        if panel.stacked:
            made = made.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    made = made.title(panel.title).unit(panel.unit).height(HEIGHT).span(width).datasource(SOURCE)
    made = made.min(0)
    if panel.text:
        made = made.description(panel.text)
    for number, query in enumerate(panel.queries):
        made = made.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend or "__auto")
            .ref_id(chr(ord("A") + number))
            .datasource(SOURCE)
        )
    return made
