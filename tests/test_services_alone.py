"""Each service as a process, with no server to talk to and with a wrong environment."""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from postroad_stack.certificates import ensure_certificates
from postroad_testing.process import ServiceProcess
from postroad_testing.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir())
NEEDS_THE_BROKER = set(SERVICES) - {"tracker"}  # which spools while the broker is away
NOWHERE = {
    "AMQP_URL": "amqp://127.0.0.1:1/",
    "MONGODB_URI": "mongodb://127.0.0.1:1/postroad",
    **{f"{name}_PORT": "0" for name in ("SMTP", "SMTPS", "MX", "HTTP", "TRACKER")},
}


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServiceProcess]]:
    """Every service, each for itself; they start, and wait, at the same time."""
    folder = tmp_path_factory.mktemp("lonely")
    made = ensure_certificates(folder, ("localhost",))
    with ExitStack() as stack:
        found: dict[str, ServiceProcess] = {}
        for service in SERVICES:
            (folder / service).mkdir()
            process = ServiceProcess(
                service,
                folder / f"{service}.log",
                **NOWHERE,
                SPOOL_DIR=str(folder / service),
                TLS_CERT=str(made.certificate),
                TLS_KEY=str(made.key),
            )
            found[service] = stack.enter_context(process).start()
        yield found


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """How each service ends in a wrong environment: its exit code and what it says.

    Which modules it imports is said, too, by the interpreter.
    """
    folder = tmp_path_factory.mktemp("refused")
    wrong = {**NOWHERE, "METRICS_PORT": "many", "HOSTNAM": "x.test"}
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("PYTHONPROFILEIMPORTTIME", "1")
        running = {
            service: stack.enter_context(
                ServiceProcess(service, folder / f"{service}.log", **wrong)
            ).start()
            for service in SERVICES
        }
        return {service: (process.wait(), process.text()) for service, process in running.items()}


def waiting(alone: ServiceProcess) -> httpx.Response:
    """Return its readiness once the service is up and has found no server."""
    answers: list[httpx.Response] = []

    def waits() -> bool:
        answers.append(alone.operations("/readyz"))
        return "service" not in answers[-1].json()["problems"] and "trying again" in alone.text()

    wait_until(waits, what=alone.text())
    return answers[-1]


@pytest.fixture(scope="module")
def answers(lonely: dict[str, ServiceProcess]) -> dict[str, httpx.Response]:
    """Return what each says about its readiness."""
    return {service: waiting(alone) for service, alone in lonely.items()}


@pytest.fixture(scope="module")
def told_to_end(
    lonely: dict[str, ServiceProcess], answers: dict[str, httpx.Response]
) -> dict[str, ServiceProcess]:
    """Tell all of these services to end."""
    assert len(answers) == len(lonely)
    for alone in lonely.values():
        alone.send(signal.SIGTERM)
    return lonely


@pytest.mark.parametrize("service", SERVICES)
def test_service_without_servers_is_live_waits_and_says_for_what(
    lonely: dict[str, ServiceProcess], answers: dict[str, httpx.Response], service: str
) -> None:
    alone, answer = lonely[service], answers[service]
    assert alone.operations("/livez").status_code == 200
    assert "postroad_" in alone.operations("/metrics").text
    if service in NEEDS_THE_BROKER:
        assert answer.status_code == 503
        assert "rabbitmq" in answer.json()["problems"], alone.text()
    assert "Traceback" not in alone.text()


@pytest.mark.parametrize("service", SERVICES)
def test_service_without_servers_ends_in_peace(
    told_to_end: dict[str, ServiceProcess], service: str
) -> None:
    alone = told_to_end[service]
    assert alone.wait() == 0, alone.text()
    assert "Traceback" not in alone.text()


@pytest.mark.parametrize("service", SERVICES)
def test_wrong_environment_ends_the_service_with_a_line_per_problem(
    refused: dict[str, tuple[int, str]], service: str
) -> None:
    code, said = refused[service]
    assert code == 2
    assert "POSTROAD_HOSTNAM: no such setting; did you mean POSTROAD_HOSTNAME?" in said
    assert "POSTROAD_METRICS_PORT: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("service", SERVICES)
def test_service_imports_no_library_that_it_has_no_use_for(
    refused: dict[str, tuple[int, str]], service: str
) -> None:
    _, said = refused[service]
    imported = set(re.findall(r"^import time: .*\| +([\w.]+)$", said, re.MULTILINE))
    assert {"structlog", "pymongo", "aio_pika"} <= imported
    unused = {"rich.console", "pygments"}
    if service in {"bounce-processor", "feedback", "tracker"}:
        unused.add("cryptography")  # which the database driver would bring
    assert imported & unused == set()
