"""Each service as a process, with no server to talk to and with a wrong environment."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
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


@pytest.fixture(params=SERVICES)
def lonely(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes], dict[str, str], Path]]:
    """A service that has nobody to talk to."""
    service: str = request.param
    log = tmp_path / "log"
    made = ensure_certificates(tmp_path, ("localhost",))
    values = environment(
        POSTROAD_SPOOL_DIR=str(tmp_path),
        POSTROAD_TLS_CERT=str(made.certificate),
        POSTROAD_TLS_KEY=str(made.key),
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(service), env=values, stdout=output, stderr=subprocess.STDOUT
        )
    yield service, process, values, log
    if process.poll() is None:
        process.kill()
    process.wait(10)


def test_service_without_servers_is_live_waits_and_says_for_what(
    lonely: tuple[str, subprocess.Popen[bytes], dict[str, str], Path],
) -> None:
    service, process, values, log = lonely
    base = f"http://127.0.0.1:{values['POSTROAD_METRICS_PORT']}"
    deadline = time.monotonic() + 30
    problems: dict[str, str] = {}
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            answer = httpx.get(f"{base}/readyz", timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        problems = answer.json()["problems"]
        if "service" not in problems and "trying again" in log.read_text():
            break
        time.sleep(0.05)
    assert httpx.get(f"{base}/livez", timeout=5).status_code == 200
    assert "postroad_" in httpx.get(f"{base}/metrics", timeout=5).text
    if service in NEEDS_THE_BROKER:
        assert answer.status_code == 503
        assert "rabbitmq" in problems, log.read_text()
    assert "Traceback" not in log.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, log.read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_wrong_environment_ends_the_service_with_a_line_per_problem(service: str) -> None:
    values = environment(POSTROAD_METRICS_PORT="many", POSTROAD_HOSTNAM="x.test")
    done = subprocess.run(
        command(service), env=values, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "POSTROAD_HOSTNAM: no such setting; did you mean POSTROAD_HOSTNAME?" in done.stderr
    assert "POSTROAD_METRICS_PORT: " in done.stderr
    assert "Traceback" not in done.stderr
