"""Metrics: series from the start, readiness that is looked at, confirms and commands measured."""

import asyncio
import contextlib

import prometheus_client
from prometheus_client import REGISTRY

from postroad_common.broker.topology import EVENTS, parked_queue
from postroad_common.health import Health
from postroad_common.metrics import AtStart, counter, gauge
from postroad_testing.waiting import until


def test_every_combination_of_known_values_has_its_series_at_once() -> None:
    counter("postroad_test_known_total", "x", {"one": ("a", "b"), "two": ("c",)})
    for one in ("a", "b"):
        value = REGISTRY.get_sample_value("postroad_test_known_total", {"one": one, "two": "c"})
        assert value == 0.0


def test_values_known_only_at_the_start_are_described_and_not_made() -> None:
    made = gauge("postroad_test_later", "x", {"one": AtStart("the ones there are"), "two": ("c",)})
    assert made.collect()
    assert [sample for family in made.collect() for sample in family.samples] == []


def test_no_metric_tells_when_its_series_was_created() -> None:
    counter("postroad_test_plain_total", "x")
    assert "_created" not in prometheus_client.generate_latest().decode()


def test_all_backlogs_are_one_in_metrics() -> None:
    assert parked_queue("some lane").label == parked_queue("other lane").label == "sender.parked"
    assert EVENTS.label == EVENTS.name


async def test_readiness_is_kept_although_nobody_asks() -> None:
    health = Health()
    health.started = True
    broken: list[str] = []

    async def check() -> None:
        if broken:
            raise ConnectionError(broken[0])

    health.add_check("test-server", check)

    def ready(name: str) -> float | None:
        return REGISTRY.get_sample_value("postroad_ready", {"check": name})

    watching = asyncio.create_task(health.watch(0.01))
    try:
        await until(lambda: ready("test-server") == 1.0 and ready("service") == 1.0)
        broken.append("away")
        await until(lambda: ready("test-server") == 0.0 and ready("service") == 0.0)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
