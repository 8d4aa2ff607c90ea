"""The sink as a program of its own, under its own event loop."""

import json
import signal
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from postroad_stack.certificates import ensure_certificates

Program = Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "postroad_sink", "--smtp-port", "0", "--http-port", "0"]
    return subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def program() -> Iterator[Program]:
    started: list[subprocess.Popen[str]] = []

    def run(*words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        started.append(start(*words))
        return started[-1], json.loads(started[-1].stdout.readline())

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_program_takes_mail_under_tls_and_stops_at_sigterm(program: Program, tmp_path: Path):
    files = ensure_certificates(tmp_path, ["127.0.0.1"])
    process, addresses = program("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    with smtplib.SMTP("127.0.0.1", addresses["smtp_port"], timeout=90) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(files.ca)))
        client.sendmail("a@x.test", ["b@y.test"], b"Subject: hi\r\n\r\n" + b"x\r\n" * 100_000)
        (message,) = httpx.get(f"{addresses['http']}/messages", trust_env=False, timeout=90).json()
        assert message["tls"]["version"] == "TLSv1.3"
        assert message["size"] == 15 + 300_000
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_program_makes_a_certificate_when_it_is_given_none(program: Program):
    _, addresses = program("--hostname", "mx.made.test")
    with smtplib.SMTP("127.0.0.1", addresses["smtp_port"], timeout=90) as client:
        client.starttls(context=ssl._create_unverified_context())  # noqa: S323
        assert client.ehlo()[1].startswith(b"mx.made.test")
        certificate = client.sock.getpeercert(binary_form=True)
        assert b"mx.made.test" in certificate


def test_port_in_use_ends_the_program_with_a_word(program: Program):
    _, addresses = program()
    second = subprocess.run(
        [
            sys.executable,
            *("-m", "postroad_sink", "--http-port", "0"),
            *("--smtp-port", str(addresses["smtp_port"])),
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert second.returncode == 1
    assert "address already in use" in second.stderr
    assert "Traceback" not in second.stderr


def test_wrong_arguments_are_refused():
    process = start("--max-messages", "0")
    assert process.wait(20) == 2
    process.stdout.close()
