"""Prometheus beside a running stack under load: every expression returns data.

A panel that stays empty looks like a quiet system, and an alert on a series that does not exist
never fires; neither shows in a check of the syntax.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import expressions
import httpx
import pytest

from postroad_sink.client import SinkClient
from postroad_stack.stack import Stack
from postroad_testing.waiting import wait_until

EMPTY = {
    "mongodb_up": "no exporter of MongoDB runs here",
    "mongodb_ss_connections": "no exporter of MongoDB runs here",
    "mongodb_ss_opcounters": "no exporter of MongoDB runs here",
    "mongodb_ss_wt_cache_bytes_currently_in_the_cache": "no exporter of MongoDB runs here",
    "postroad_sender_warmup_leased": "no source of this stack has a warm-up",
}
"""Metrics that legitimately have no series in this test, and why."""
PATIENCE = 180.0
_DEFERRED = "later@receiver.test"
_REFUSED = "never@receiver.test"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, promtool: str) -> Iterator[Stack]:
    assert promtool
    folder = tmp_path_factory.mktemp("monitored")
    settings = {"POSTROAD_RETRY_SCHEDULE": "1,1,2"}
    with Stack.start(folder, env=settings, scrape_seconds=1.0) as started:
        yield started
        started.stop(wipe=True)


@pytest.fixture(scope="module")
def load(stack: Stack) -> Iterator[None]:
    """Keep mail of every fate on its way while the tests ask."""
    over = threading.Event()
    api = stack.api()
    with SinkClient(stack.sink_url) as sink:
        sink.behave(
            {"recipient": _DEFERRED, "reply": "421 4.7.0 Too many connections"},
            {"recipient": _REFUSED, "reply": "550 5.1.1 No such user"},
        )

        def send() -> None:
            number = 0
            while not over.wait(0.2):
                number += 1
                recipient = (f"reader{number}@receiver.test", _DEFERRED, _REFUSED)[number % 3]
                mail = {"from": "news@shop.test", "recipient": recipient, "to": recipient}
                api.post("/v1/send", mail | {"subject": f"Load {number}", "text": "Hello"})

        sending = threading.Thread(target=send)
        sending.start()
        try:
            yield
        finally:
            over.set()
            sending.join()
            sink.behave()


@pytest.fixture(scope="module")
def road(stack: Stack) -> None:
    """Show a mail's whole life, with clicks, opens and bounces, by a client's own command."""
    demo = Path(sys.executable).with_name("postroad")
    done = subprocess.run(
        [str(demo), "demo", "--state-dir", str(stack.state_dir)],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def ask(stack: Stack, expression: str) -> list[dict[str, Any]]:
    """Return the samples that Prometheus has for `expression` now."""
    address = stack.document.prometheus
    assert address is not None
    answer = httpx.get(f"{address}/api/v1/query", params={"query": expression}, timeout=30).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    result: list[dict[str, Any]] = answer["data"]["result"]
    return [sample for sample in result if sample["value"][1] != "NaN"]


def may_be_empty(expression: str) -> bool:
    """Whether it asks for nothing but what this stack does not have."""
    names = {expressions.metric_of(each) for each in expressions.selectors(expression)}
    return names <= set(EMPTY)


@pytest.mark.usefixtures("road", "load")
def test_every_expression_of_panels_and_rules_returns_data_under_load(stack: Stack) -> None:
    wanted = {found.text for found in expressions.panels() if not may_be_empty(found.text)}
    wanted |= {rule["record"] for rule in expressions.rules("recording")}
    # An alert's own expression is empty while all is well; what it looks at must not be.
    for rule in expressions.rules("alerts"):
        wanted |= set(expressions.selectors(rule["expr"]))
    left = set(wanted)

    def answered() -> bool:
        left.difference_update([each for each in left if ask(stack, each)])
        return not left

    try:
        wait_until(answered, PATIENCE, "every expression returns data")
    except TimeoutError:
        pytest.fail("no data for:\n" + "\n".join(sorted(left)))


@pytest.mark.usefixtures("road")
def test_what_is_listed_as_empty_is_empty(stack: Stack) -> None:
    assert [name for name in EMPTY if ask(stack, name)] == []


@pytest.mark.usefixtures("road")
def test_every_process_is_read(stack: Stack) -> None:
    for service in stack.document.metrics:
        wait_until(
            lambda service=service: bool(ask(stack, f'up{{service="{service}"}} == 1')),
            PATIENCE,
            f"{service} is read",
        )
