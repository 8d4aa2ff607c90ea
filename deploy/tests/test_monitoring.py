"""Rules and dashboards, without a cluster: sound, tested, and about metrics that exist."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import expressions
import pytest
from expressions import MONITORING, RULES, Expression

from postroad_common.metrics import DESCRIPTIONS
from postroad_stack.plan import SERVICES
from postroad_stack.servers import prometheus

ROOT = MONITORING.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import generate_docs  # noqa: E402 - a script, found by its path

ALERTS = {rule["alert"]: rule for rule in expressions.rules("alerts")}
RECORDED = {rule["record"] for rule in expressions.rules("recording")}
OTHERS = re.compile(r"^(up|process_\w+|rabbitmq_\w+|mongodb_\w+)$")
_COMMAND = re.compile(
    r"`(postroad [a-z]|curl |kubectl |systemctl |rabbitmq-diagnostics |mongosh |openssl )"
)
"""What somebody types who has just been woken."""
_PARTS = re.compile(r"_(bucket|count|sum)$")
_RULES = [rule["expr"] for file in ("recording", "alerts") for rule in expressions.rules(file)]
EVERY_EXPRESSION = [*expressions.panels(), *(Expression("rules", text) for text in _RULES)]


@pytest.fixture(scope="session", autouse=True)
def all_metrics() -> None:
    """Define the metrics of all services in this process."""
    generate_docs.load_metrics()


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_files_are_up_to_date() -> None:
    run(sys.executable, str(MONITORING / "generate"), "--check")


def test_prometheus_takes_the_configuration_and_the_rules(promtool: str) -> None:
    run(promtool, "check", "config", str(MONITORING / "prometheus.yml"))


def test_alerts_fire_when_they_should_and_not_otherwise(promtool: str) -> None:
    run(promtool, "test", "rules", str(RULES / "tests" / "alerts.yml"))


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_case_in_which_it_fires(name: str) -> None:
    text = (RULES / "tests" / "alerts.yml").read_text()
    assert f'ALERTS{{alertname="{name}", alertstate="firing"' in text


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_who_is_told_what_and_where_to_read_on(name: str) -> None:
    alert: dict[str, Any] = ALERTS[name]
    notes = alert["annotations"]
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert {"summary", "description"} <= set(notes)
    page, _, anchor = notes["runbook_url"].partition("#")
    assert anchor == name.lower()
    text = (ROOT / page).read_text()
    section = text.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    assert len(section.split()) > 20, f"{page} says little of {name}"
    if alert["labels"]["severity"] == "page":
        assert _COMMAND.search(section), f"{page} has no command to type for {name}"


def test_the_runbook_speaks_of_no_alert_that_there_is_not() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    assert set(re.findall(r"^### (Postroad\w+)$", text, re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize("found", EVERY_EXPRESSION, ids=lambda found: found.text[:60])
def test_expressions_name_metrics_that_exist(found: Expression) -> None:
    names = [expressions.metric_of(each) for each in expressions.selectors(found.text)]
    assert names
    for name in names:
        known = name in DESCRIPTIONS or _PARTS.sub("", name) in DESCRIPTIONS
        assert known or name in RECORDED or OTHERS.match(name), name


@pytest.mark.parametrize("found", EVERY_EXPRESSION, ids=lambda found: found.text[:60])
def test_expressions_ask_for_labels_that_their_metrics_have(found: Expression) -> None:
    for each in expressions.selectors(found.text):
        metric = DESCRIPTIONS.get(_PARTS.sub("", expressions.metric_of(each)))
        if metric is None:
            continue
        for label, how, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', each):
            assert label in metric.labels, each
            values = metric.labels[label]
            if isinstance(values, tuple):
                wanted = value if "~" in how else re.escape(value)
                assert any(re.fullmatch(wanted, one) for one in values), each


def test_the_local_prometheus_has_the_jobs_of_the_configuration() -> None:
    made = prometheus.configuration({"sender": ["127.0.0.1:1"], "rabbitmq": ["127.0.0.1:2"]}, 5.0)
    jobs = {job["job_name"] for job in made["scrape_configs"]}
    text = (MONITORING / "prometheus.yml").read_text()
    written = set(re.findall(r"job_name: (\S+)", text))
    assert jobs == written - {"mongodb"}
    assert sorted(RULES.glob("*.yml")) == sorted(Path(made["rule_files"][0]).parent.glob("*.yml"))


def test_the_alert_for_missing_services_names_them_all() -> None:
    text = ALERTS["PostroadServiceMissing"]["expr"]
    assert set(re.findall(r'service="([^"]+)"', text)) == set(SERVICES)
