"""The whole product over TLS to RabbitMQ and MongoDB, both of which ask for a client certificate.

Started by `make test-cluster`.
"""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from postroad_sink.client import SinkClient
from postroad_stack.errors import NotReadyError, StartFailedError
from postroad_stack.ports import PortBook
from postroad_stack.processes.program import Program
from postroad_stack.secrets import load_secrets
from postroad_stack.servers import mongodb, rabbitmq
from postroad_stack.servers.choose import Preference, choose_servers
from postroad_stack.stack import Stack
from postroad_stack.state_dir import StateDir
from postroad_testing.certificates import Authority
from postroad_testing.ports import free_port
from postroad_testing.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
PATIENCE = 90.0


@dataclass(frozen=True)
class Servers:
    """Two servers that speak TLS, and what a client of them is told by settings."""

    settings: dict[str, str]
    database: str


def start(program: Program, stack: ExitStack) -> None:
    """Run a server until the end of `stack`; return when it is ready."""
    log = stack.enter_context(program.log.open("ab"))
    process = subprocess.Popen(
        program.argv, env=program.env, stdout=log, stderr=log, cwd=program.folder
    )
    stack.callback(process.wait, PATIENCE)
    stack.callback(process.terminate)

    def is_ready() -> bool:
        try:
            asyncio.run(program.ready())
        except NotReadyError as error:
            if process.poll() is not None:
                pytest.fail(f"{program.name}: {error}\n{program.log.read_text()[-2000:]}")
            return False
        return True

    wait_until(is_ready, PATIENCE, what=f"{program.name} is ready, see {program.log}")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    trusted = folder / "authorities.pem"
    certificate = authority.issue("localhost", "127.0.0.1", with_root=True).path
    trusted.write_text(certificate.read_text())
    state = StateDir(folder / "servers")
    state.create()
    secrets, ports = load_secrets(state.secrets), PortBook(state.ports, {})
    broker, database = choose_servers({}, Preference.LOCAL, lambda _text: None)
    common = (state, secrets, ports, os.environ)
    brokers = rabbitmq.programs(broker, *common)
    (database_program,) = mongodb.programs(database, *common)
    amqps = free_port()
    with (state.rabbitmq / "rabbitmq.conf").open("a") as configuration:
        configuration.write(
            f"listeners.ssl.1 = 127.0.0.1:{amqps}\n"
            f"ssl_options.cacertfile = {trusted}\n"
            f"ssl_options.certfile = {certificate}\n"
            f"ssl_options.keyfile = {certificate}\n"
            "ssl_options.verify = verify_peer\n"
            "ssl_options.fail_if_no_peer_cert = true\n"
        )
    with_tls = ("--tlsMode", "preferTLS", "--tlsCertificateKeyFile", str(certificate))
    with_tls += ("--tlsCAFile", str(trusted))
    urls = {
        "POSTROAD_AMQP_URL": rabbitmq.url(secrets, ports)
        .replace("amqp://", "amqps://")
        .replace(f":{ports.port('amqp')}/", f":{amqps}/"),
        "POSTROAD_MONGODB_URI": mongodb.url(secrets, ports),
    }
    ports.release()
    with ExitStack() as stack:
        start(replace(database_program, argv=(*database_program.argv, *with_tls)), stack)
        for program in brokers:
            start(program, stack)
        shown = authority.issue("postroad").path
        yield Servers(
            urls
            | {f"POSTROAD_{server}_CA": str(authority.file) for server in ("AMQP", "MONGODB")}
            | {f"POSTROAD_{server}_CERT": str(shown) for server in ("AMQP", "MONGODB")},
            urls["POSTROAD_MONGODB_URI"],
        )


def encrypted(database: str) -> int:
    """Return how many connections MongoDB has been asked for over TLS."""
    with MongoClient[dict[str, Any]](database) as client:
        counted: dict[str, int] = client.admin.command("serverStatus")["transportSecurity"]
    return sum(counted.values())


def test_mail_goes_its_way_with_client_certificates_at_both_servers(
    servers: Servers, tmp_path: Path
) -> None:
    before = encrypted(servers.database)
    with (
        Stack.start(tmp_path / "stack", env=servers.settings) as stack,
        SinkClient(stack.sink_url) as sink,
    ):
        stack.api().post(
            "/v1/send",
            {"from": "shop@shop.test", "recipient": "bob@b.test", "to": "bob@b.test"}
            | {"subject": "Over TLS", "text": "Hello"},
        )
        wait_until(lambda: bool(sink.messages(subject="Over TLS")), PATIENCE, "the mail arrives")
    assert encrypted(servers.database) > before


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("POSTROAD_AMQP_CA", "not signed by the CA in POSTROAD_AMQP_CA"),
        ("POSTROAD_MONGODB_CA", "not signed by the CA in POSTROAD_MONGODB_CA"),
        ("POSTROAD_AMQP_CERT", ""),
        ("POSTROAD_MONGODB_CERT", ""),
    ],
)
def test_another_authority_or_no_certificate_is_refused_with_what_to_do(
    servers: Servers, tmp_path: Path, setting: str, said: str
) -> None:
    (tmp_path / "other").mkdir()
    settings = dict(servers.settings)
    if setting.endswith("_CA"):
        settings[setting] = str(Authority(tmp_path / "other").file)
    else:
        del settings[setting]
    with pytest.raises(StartFailedError, match="the server given by URL cannot be used") as failed:
        Stack.start(tmp_path / "stack", env=settings)
    assert said in failed.value.failure.reason
