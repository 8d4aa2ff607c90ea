"""What all metrics have in common: their names, and their series from the start."""

import itertools
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from postroad_common.metrics import DESCRIPTIONS

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import generate_docs  # noqa: E402 - a script, found by its path

generate_docs.load_metrics()


def mine() -> list[str]:
    """Return the names of all metrics, without those that other tests have made."""
    return [name for name in DESCRIPTIONS if not name.startswith("postroad_test_")]


@pytest.mark.parametrize("name", mine())
def test_the_name_of_a_metric_says_its_unit_and_its_kind(name: str) -> None:
    assert name.startswith("postroad_")
    kind = DESCRIPTIONS[name].kind
    assert name.endswith("_total") == (kind == "counter")
    if kind == "histogram":
        assert name.endswith("_seconds")


def test_there_is_no_metric_that_was_not_described() -> None:
    exposed = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in REGISTRY.collect()
        if family.name.startswith("postroad_")
    }
    assert exposed <= set(DESCRIPTIONS)


@pytest.mark.parametrize("name", mine())
def test_known_values_of_labels_have_their_series_from_the_start(name: str) -> None:
    found = DESCRIPTIONS[name]
    lists = [values for values in found.labels.values() if isinstance(values, tuple)]
    if len(lists) < len(found.labels):
        return
    sample = f"{name}_count" if found.kind == "histogram" else name
    for combination in itertools.product(*lists):
        labels = dict(zip(found.labels, combination, strict=True))
        assert REGISTRY.get_sample_value(sample, labels) is not None, labels
