"""`make test-images`: builds every image, starts the composition, sends, counts, stops."""

import contextlib
import json
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest
import standins
from engine import Engine

from postroad_sink.client import SinkClient

ROOT = Path(__file__).parent.parent.parent.parent
DOCKER = ROOT / "deploy" / "docker"
SERVICES = (
    "ingress-smtp",
    "ingress-http",
    "transformer",
    "sender",
    "bounce-processor",
    "tracker",
    "feedback",
)
MAILS = 20
pytestmark = pytest.mark.timeout(1500)


def _progress(text: str) -> None:
    sys.__stderr__.write(f"== {text}\n")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def images(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Build ours; the names of the images of the servers."""
    folder = tmp_path_factory.mktemp("images")
    servers: dict[str, str] = {}
    if not docker.has(standins.PYTHON):
        _progress("no registry: a stand-in for python:3.11-slim from the distribution's packages")
        standins.make_python(docker, folder)
    for name, image, make in (
        ("RABBITMQ_IMAGE", "rabbitmq:4.1.4-management", standins.make_rabbitmq),
        ("MONGODB_IMAGE", "mongo:8.0.12", standins.make_mongodb),
    ):
        if not docker.has(image):
            _progress(f"no registry: a stand-in for {image}")
            (folder / name).mkdir()
            make(docker, folder / name)
            servers[name] = standins.RABBITMQ if "RABBIT" in name else standins.MONGODB
    _progress("the images of the services")
    authorities = ssl.get_default_verify_paths().cafile or ""
    build = str(DOCKER / "build")
    given = {"BUILD_ARGS": "--network host" if docker.own else "", "POSTROAD_CA": authorities}
    docker.run(build, *SERVICES, "sink", **given)
    return servers


@dataclass(frozen=True)
class Composition:
    """What was started: its folder, and the ports of this machine by the names in compose.yaml."""

    folder: Path
    ports: dict[str, int]

    def token(self) -> str:
        """Return the token with every scope."""
        return (self.folder / "state" / "secrets" / "POSTROAD_ADMIN_TOKEN").read_text()


@pytest.fixture(scope="module")
def composed(
    docker: Engine, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composition]:
    """Start everything."""
    folder = tmp_path_factory.mktemp("compose")
    for name in ("compose.yaml", "rabbitmq.conf", "enabled_plugins", "setup"):
        shutil.copy(DOCKER / name, folder)
    shutil.copy(Path(__file__).with_name("sink.yaml"), folder)
    docker.run(str(folder / "setup"))
    names = (
        "SUBMISSION_PORT",
        "SUBMISSIONS_PORT",
        "MX_PORT",
        "HTTP_PORT",
        "TRACKER_PORT",
        "SINK_PORT",
    )
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    environment = {**images, **{name: str(port) for name, port in ports.items()}}
    compose = [str(Path(sys.executable).with_name("docker-compose")), "-p", f"pr{os.getpid()}"]
    compose += ["-f", str(folder / "compose.yaml"), "-f", str(folder / "sink.yaml")]
    _progress("the composition")
    try:
        docker.run(
            *compose, "up", "-d", "--wait", "--wait-timeout", "400", timeout=450, **environment
        )
    except AssertionError as error:
        logs = docker.run(*compose, "logs", "--no-color", "--tail", "25", **environment)
        docker.run(*compose, "down", "-v", "-t", "5", **environment)
        raise AssertionError(f"{error}\n{logs}") from None
    try:
        yield Composition(folder, ports)
    finally:
        with contextlib.suppress(AssertionError):
            docker.run(*compose, "down", "-v", "-t", "40", timeout=300, **environment)


def _mail(number: int, way: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "shop@example.test"
    mail["To"] = f"{way}-{number}@example.test"
    mail["Subject"] = f"{way} {number}"
    mail.set_content("Hello")
    mail.add_alternative("<style>p{color:red}</style><p>Hello</p>", subtype="html")
    return mail


def test_mail_by_smtp_and_rest_arrives_once_each(composed: Composition) -> None:
    head = {"Authorization": f"Bearer {composed.token()}"}
    rest = httpx.Client(
        base_url=f"http://127.0.0.1:{composed.ports['HTTP_PORT']}",
        headers=head,
        timeout=30,
        trust_env=False,
    )
    login = rest.post("/v1/credentials", json={"name": "images"}).raise_for_status().json()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate signs itself
    with smtplib.SMTP("127.0.0.1", composed.ports["SUBMISSION_PORT"], timeout=30) as client:
        client.starttls(context=context)
        client.login(login["username"], login["password"])
        for number in range(MAILS):
            client.send_message(_mail(number, "smtp"))
    for number in range(MAILS):
        mail = _mail(number, "rest")
        body = {"envelope": "shop@example.test", "recipient": mail["To"], "body": mail.as_string()}
        rest.post("/v1/send", json=body).raise_for_status()
    expected = {
        f"{way}-{number}@example.test" for way in ("smtp", "rest") for number in range(MAILS)
    }
    with SinkClient(f"http://127.0.0.1:{composed.ports['SINK_PORT']}") as sink:
        sink.wait(at_least=2 * MAILS, limit=60)
        arrived = [recipient for one in sink.messages() for recipient in one.recipients]
    assert sorted(arrived) == sorted(expected)


@pytest.mark.usefixtures("images")
def test_image_runs_as_nobody_in_particular_and_holds_no_authority(docker: Engine) -> None:
    for service in SERVICES:
        image = f"postroad/{service}:0.1.0"
        found = json.loads(docker.run("docker", "image", "inspect", image))[0]["Config"]
        assert found["User"] == "10001:10001"
        assert found["Healthcheck"]["Test"][0] == "CMD"
    shell = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "sh"]
    image = "postroad/transformer:0.1.0"
    assert docker.run(*shell, image, "-c", "ls /run/secrets 2>/dev/null | wc -l").strip() == "0"
    assert "ruff" not in docker.run(*shell, image, "-c", "ls /opt/postroad/bin")


@pytest.mark.usefixtures("images")
def test_image_refuses_a_wrong_environment(docker: Engine) -> None:
    command = ["docker", "run", "--rm", "--network", "none", "postroad/sender:0.1.0"]
    done = subprocess.run(
        command, env=docker.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "POSTROAD_AMQP_URL: is required" in done.stderr


def test_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    command = [str(Path(sys.executable).with_name("hadolint")), str(DOCKER / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
