"""How metrics are defined: with their label values made in advance, and known by description.

A series that appears only with its first event hides that event from `rate()` and `increase()`; so
every value that is known when the program starts has its series at once. Values that are known
only from the settings are made by the object that knows them. Names begin with `postroad_` and the
service, or have no service where all services have the metric. A label never holds an address, a
login or a raw domain.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there


@dataclass(frozen=True, slots=True)
class AtStart:
    """Values of a label that are known when the service has read its settings."""

    description: str


LabelValues: TypeAlias = Iterable[str] | AtStart
_NO_LABELS: Mapping[str, LabelValues] = MappingProxyType({})
M = TypeVar("M", Counter, Gauge, Histogram)


@dataclass(frozen=True, slots=True)
class Description:
    """What the documentation says of a metric. `labels`: the values of each, or what they are."""

    name: str
    kind: str
    help: str
    labels: Mapping[str, tuple[str, ...] | str] = field(default_factory=dict)


DESCRIPTIONS: dict[str, Description] = {}
"""Every metric that was defined in this process, by its name as Prometheus shows it."""


def counter(name: str, text: str, labels: Mapping[str, LabelValues] = _NO_LABELS) -> Counter:
    """Define a counter; its `name` ends in `_total`."""
    made = Counter(name, text, list(labels))
    return _defined(made, "counter", name, text, labels)


def gauge(name: str, text: str, labels: Mapping[str, LabelValues] = _NO_LABELS) -> Gauge:
    """Define a gauge."""
    return _defined(Gauge(name, text, list(labels)), "gauge", name, text, labels)


def histogram(
    name: str,
    text: str,
    buckets: Iterable[float],
    labels: Mapping[str, LabelValues] = _NO_LABELS,
) -> Histogram:
    """Define a histogram with these upper bounds, in the unit that its name ends in."""
    made = Histogram(name, text, list(labels), buckets=tuple(buckets))
    return _defined(made, "histogram", name, text, labels)


def _defined(metric: M, kind: str, name: str, text: str, labels: Mapping[str, LabelValues]) -> M:
    known = {
        label: values.description if isinstance(values, AtStart) else tuple(map(str, values))
        for label, values in labels.items()
    }
    DESCRIPTIONS[name] = Description(name, kind, text, known)
    lists = [values for values in known.values() if isinstance(values, tuple)]
    if known and len(lists) == len(known):
        for combination in itertools.product(*lists):
            metric.labels(*combination)
    return metric
