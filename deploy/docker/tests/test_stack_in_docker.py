"""`postroad up` with its servers in Docker, by testcontainers, against a real engine."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import standins
from engine import Engine

from postroad_sink.client import SinkClient
from postroad_stack.errors import RestError
from postroad_stack.servers.choose import MONGODB_IMAGE, RABBITMQ_IMAGE, Preference
from postroad_stack.stack import Stack
from postroad_testing.waiting import wait_until

MAILS = 10
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def server_images(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have the images that the stack wants, or stand-ins under their names."""
    folder = tmp_path_factory.mktemp("servers")
    wanted = (
        (RABBITMQ_IMAGE, standins.RABBITMQ, standins.make_rabbitmq),
        (MONGODB_IMAGE, standins.MONGODB, standins.make_mongodb),
    )
    for image, name, make in wanted:
        if docker.has(image):
            continue
        if not docker.own:
            pytest.skip(f"{image} cannot be pulled, and this engine is not ours to change")
        if not docker.has(standins.PYTHON):
            standins.make_python(docker, folder)
        if not docker.has(name):
            (folder / name.rpartition("/")[2]).mkdir()
            make(docker, folder / name.rpartition("/")[2])
        docker.run("docker", "tag", name, image)


@pytest.fixture(scope="module")
def stack(
    docker: Engine, server_images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    assert server_images is None
    with pytest.MonkeyPatch.context() as patch:
        for name, value in docker.environment.items():
            patch.setenv(name, value)
        # The reaper's image may be out of reach; what is left over is removed at the next start.
        patch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
        folder = tmp_path_factory.mktemp("in-docker")
        with Stack.start(folder, servers=Preference.DOCKER) as started:
            yield started
            started.stop(wipe=True)


def names(docker: Engine) -> set[str]:
    """Return the names of the running containers."""
    return set(docker.run("docker", "ps", "--format", "{{.Names}}").split())


def send(stack: Stack, what: str) -> None:
    """Send some mails by REST and wait until each has arrived, once at least."""
    api = stack.api()
    wanted = {f"{what}-{number}@receiver.test" for number in range(MAILS)}

    def takes(recipient: str) -> bool:
        mail = {"from": "shop@shop.test", "recipient": recipient, "to": recipient}
        try:
            api.post("/v1/send", mail | {"subject": what, "text": "Hello"})
        except RestError:  # a connection is being made again
            return False
        return True

    for recipient in sorted(wanted):
        wait_until(lambda to=recipient: takes(to), 60.0, f"mail to {recipient} is accepted")
    with SinkClient(stack.sink_url) as sink:
        wait_until(
            lambda: (
                wanted <= {to for mail in sink.messages(subject=what) for to in mail.recipients}
            ),
            60.0,
            f"{MAILS} mails arrived",
        )


def test_mail_flows_through_servers_in_containers(docker: Engine, stack: Stack) -> None:
    running = names(docker)
    for server in ("rabbitmq", "mongod"):
        assert any(name.startswith(f"postroad-{server}-") for name in running), running
        (process,) = stack.processes(server)
        assert process.pid is not None
        assert Path(f"/proc/{process.pid}").exists()
    send(stack, "containers")


@pytest.mark.parametrize("server", ["rabbitmq", "mongod"])
def test_a_server_whose_container_is_killed_is_started_again_with_its_data(
    docker: Engine, stack: Stack, server: str
) -> None:
    logins = stack.api().get("/v1/credentials")
    (name,) = [each for each in names(docker) if each.startswith(f"postroad-{server}-")]
    before = stack.processes(server)[0].pid
    docker.run("docker", "kill", "--signal", signal.SIGKILL.name, name)
    stack.wait_back(server, [before] if before else [])

    def knows_the_logins() -> bool:
        try:
            return bool(stack.api().get("/v1/credentials") == logins)
        except RestError:  # its connections are being made again
            return False

    wait_until(knows_the_logins, 60.0, "the API answers as before")
    send(stack, f"after-{server}")


def test_containers_are_gone_when_the_stack_has_stopped(
    docker: Engine, server_images: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server_images is None
    for name, value in docker.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    before = names(docker)
    folder = tmp_path / "stack"
    with Stack.start(folder, servers=Preference.DOCKER, only=("rabbitmq", "mongod")) as started:
        assert len(names(docker) - before) == 2
        started.stop(wipe=True)
    assert names(docker) == before
    assert not folder.exists()
