"""Each service as a process, with no server to talk to and with a wrong environment."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from postroad_stack.certificates import ensure_certificates

ROOT = Path(__file__).resolve().parent.parent
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir())
NEEDS_THE_BROKER = set(SERVICES) - {"tracker"}  # which spools while the broker is away


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**changes: str) -> dict[str, str]:
    ports = ("METRICS", "SMTP", "SMTPS", "MX", "HTTP", "TRACKER")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("POSTROAD_")},
        "POSTROAD_AMQP_URL": "amqp://127.0.0.1:1/",
        "POSTROAD_MONGODB_URI": "mongodb://127.0.0.1:1/postroad",
        "POSTROAD_SECRET": "a secret for tests only",
        **{f"POSTROAD_{name}_PORT": str(free_port()) for name in ports},
        **changes,
    }


def command(service: str) -> list[str]:
    return [sys.executable, "-m", f"postroad_{service.replace('-', '_')}"]


@dataclass(frozen=True)
class Lonely:
    """A service that has nobody to talk to."""

    process: subprocess.Popen[bytes]
    metrics: str
    log: Path


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Lonely]]:
    """Every service, each for itself; they start, and wait, at the same time."""
    folder = tmp_path_factory.mktemp("lonely")
    made = ensure_certificates(folder, ("localhost",))
    found: dict[str, Lonely] = {}
    for service in SERVICES:
        (folder / service).mkdir()
        values = environment(
            POSTROAD_SPOOL_DIR=str(folder / service),
            POSTROAD_TLS_CERT=str(made.certificate),
            POSTROAD_TLS_KEY=str(made.key),
        )
        log = folder / f"{service}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(service), env=values, stdout=output, stderr=subprocess.STDOUT
            )
        metrics = f"http://127.0.0.1:{values['POSTROAD_METRICS_PORT']}"
        found[service] = Lonely(process, metrics, log)
    yield found
    for one in found.values():
        one.process.kill()
        one.process.wait(10)


@pytest.fixture(scope="module")
def refused() -> dict[str, tuple[int, str]]:
    """How each service ends in a wrong environment: its exit code and what it says."""
    values = environment(POSTROAD_METRICS_PORT="many", POSTROAD_HOSTNAM="x.test")
    running = {
        service: subprocess.Popen(
            command(service),
            env=values,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for service in SERVICES
    }
    found: dict[str, tuple[int, str]] = {}
    for service, process in running.items():
        with process:
            try:
                _, said = process.communicate(timeout=200)
            finally:
                process.kill()
            found[service] = process.returncode, said
    return found


def waiting(alone: Lonely) -> httpx.Response:
    """Return its readiness once the service is up and has found no server."""
    deadline = time.monotonic() + 90
    while True:
        assert alone.process.poll() is None, alone.log.read_text()
        assert time.monotonic() < deadline, alone.log.read_text()
        try:
            answer = httpx.get(f"{alone.metrics}/readyz", timeout=5)
        except httpx.TransportError:
            time.sleep(0.2)
            continue
        if "service" not in answer.json()["problems"] and "trying again" in alone.log.read_text():
            return answer
        time.sleep(0.2)


@pytest.fixture(scope="module")
def answers(lonely: dict[str, Lonely]) -> dict[str, httpx.Response]:
    """Return what each says about its readiness; all are asked at the same time."""
    with ThreadPoolExecutor(len(lonely)) as pool:
        return dict(zip(lonely, pool.map(waiting, lonely.values()), strict=True))


@pytest.fixture(scope="module")
def told_to_end(lonely: dict[str, Lonely], answers: dict[str, httpx.Response]) -> dict[str, Lonely]:
    """Tell all of these services to end."""
    assert len(answers) == len(lonely)
    for alone in lonely.values():
        alone.process.send_signal(signal.SIGTERM)
    return lonely


@pytest.mark.parametrize("service", SERVICES)
def test_service_without_servers_is_live_waits_and_says_for_what(
    lonely: dict[str, Lonely], answers: dict[str, httpx.Response], service: str
) -> None:
    alone, answer = lonely[service], answers[service]
    assert httpx.get(f"{alone.metrics}/livez", timeout=5).status_code == 200
    assert "postroad_" in httpx.get(f"{alone.metrics}/metrics", timeout=5).text
    if service in NEEDS_THE_BROKER:
        assert answer.status_code == 503
        assert "rabbitmq" in answer.json()["problems"], alone.log.read_text()
    assert "Traceback" not in alone.log.read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_service_without_servers_ends_in_peace(
    told_to_end: dict[str, Lonely], service: str
) -> None:
    alone = told_to_end[service]
    assert alone.process.wait(30) == 0, alone.log.read_text()
    assert "Traceback" not in alone.log.read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_wrong_environment_ends_the_service_with_a_line_per_problem(
    refused: dict[str, tuple[int, str]], service: str
) -> None:
    code, said = refused[service]
    assert code == 2
    assert "POSTROAD_HOSTNAM: no such setting; did you mean POSTROAD_HOSTNAME?" in said
    assert "POSTROAD_METRICS_PORT: " in said
    assert "Traceback" not in said
