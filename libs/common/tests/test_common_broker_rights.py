"""Rights at the broker: what each service's user may do there, tried on a real RabbitMQ."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import aio_pika
import aiormq.exceptions
import pytest
from aiormq.abc import AbstractChannel
from yarl import URL

from postroad_common.broker import BrokerLink, Publisher, rightsmaking, topology
from postroad_common.broker.rights import RIGHTS
from postroad_stack.secrets import load_secrets
from postroad_stack.stack import Stack
from postroad_stack.state_dir import StateDir

ROOT = Path(__file__).resolve().parents[3]
PARKED = topology.parked_queue("a lane")
QUEUES = (*topology.QUEUES, PARKED)
Trial = Callable[[AbstractChannel], Awaitable[object]]


@pytest.fixture
async def url_of(own_servers: Stack | None, amqp_url: str) -> AsyncIterator[Callable[[str], str]]:
    """Yield what gives a service's URL; the queue of a backlog is there meanwhile."""
    if own_servers is None:
        pytest.skip("the broker was given, so its users are not known")
    secrets = load_secrets(StateDir(own_servers.state_dir).secrets)

    def find(service: str) -> str:
        login = URL(amqp_url).with_user(service).with_password(secrets.broker_password_of(service))
        return str(login)

    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(PARKED.name, durable=True, arguments=PARKED.declaration)
        yield find
        await channel.queue_delete(PARKED.name)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Callable[[Trial], Awaitable[bool]]]:
    """Yield what tells whether a user may do something."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()

    async def may(trial: Trial) -> bool:
        nonlocal channel
        if channel.is_closed:
            channel = await connection.channel()
        try:
            await trial(channel)
        except aiormq.exceptions.ChannelAccessRefused:
            return False
        except aiormq.exceptions.ChannelLockedResource:
            pass  # permitted, but one with a single active consumer is not read that way
        return True

    try:
        yield may
    finally:
        await connection.close()


def owner(name: str) -> str:
    return "sender" if name == topology.OUTBOUND.name else name.partition(".")[0]


def read(queue: topology.Queue) -> Trial:
    return lambda channel: channel.basic_get(queue.name)


def make(queue: topology.Queue) -> Trial:
    return lambda channel: channel.queue_declare(
        queue.name, durable=True, arguments=queue.declaration
    )


def make_exchange(exchange: topology.Exchange) -> Trial:
    return lambda channel: channel.exchange_declare(
        exchange=exchange.name, exchange_type=exchange.kind, durable=True
    )


def publish(exchange: str) -> Trial:
    return lambda channel: channel.basic_publish(b"", exchange=exchange, routing_key="tried")


@pytest.mark.parametrize("service", sorted(RIGHTS))
async def test_service_makes_and_reads_its_own_queues_and_publishes_where_its_work_goes(
    service: str, url_of: Callable[[str], str]
) -> None:
    async with opened(url_of(service)) as may:
        made = {queue.name for queue in QUEUES if await may(make(queue))}
        readable = {queue.name for queue in QUEUES if await may(read(queue))}
        exchanges = {each.name for each in topology.EXCHANGES if await may(make_exchange(each))}
        names = ["", "amq.direct", *(each.name for each in topology.EXCHANGES)]
        written = {name for name in names if await may(publish(name))}
        answered = await may(lambda channel: channel.queue_purge(topology.ACCEPTED.name))
    own = {queue.name for queue in QUEUES if owner(queue.name) == service}
    dead = {queue.name for queue in topology.DEAD_QUEUES}
    assert made == own
    assert readable == (own | dead if service == "ingress-http" else own)
    assert exchanges == {each.name for each in topology.EXCHANGES if owner(each.name) == service}
    onwards = {"ingress-http", "transformer", "sender", "bounce-processor"}
    outbound = {topology.OUTBOUND.name} if service in onwards else set()
    assert written == {"", *outbound, *exchanges}
    assert answered == (service == "transformer")


def test_every_service_has_rights() -> None:
    assert set(RIGHTS) == {path.name for path in (ROOT / "services").iterdir()}


async def exists(amqp_url: str, name: str) -> bool:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        try:
            await channel.declare_queue(name, passive=True)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return False
    return True


async def test_service_declares_what_is_its_own_where_it_may_not_declare_all(
    amqp_url: str, url_of: Callable[[str], str]
) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for queue in (topology.ACCEPTED, topology.SHARD_QUEUES[3], topology.EVENTS):
            await channel.queue_delete(queue.name)
    for service, queue in (
        ("sender", topology.SHARD_QUEUES[3]),
        ("transformer", topology.ACCEPTED),
    ):
        link = BrokerLink(url_of(service), "test", declare=True, rights=RIGHTS[service])
        publisher = Publisher(link)
        link.start()
        await asyncio.wait_for(link.up.wait(), 90)
        await publisher.publish("", queue.name, b"x")
        await publisher.publish(topology.OUTBOUND.name, "receiver.test", b"x")
        await link.close()
    assert not await exists(amqp_url, topology.EVENTS.name)


def secrets_in(folder: Path, **urls: str) -> Path:
    """Write the URL of each service; a keyword names one in place of what it would have."""
    for service in RIGHTS:
        (folder / service).mkdir()
        url = f"amqp://{service}:pass%40word@broker/mail,amqp://{service}:pass%40word@other/mail"
        text = urls.get(service.replace("-", "_"), url)
        (folder / service / "POSTROAD_AMQP_URL").write_text(f"{text}\n")
    return folder


class Management(BaseHTTPRequestHandler):
    """The management API, as far as it takes definitions."""

    taken: list[tuple[str, str, Any]]
    asked = 0

    def do_GET(self) -> None:
        """Answer for the list of nodes: one runs, then both."""
        type(self).asked += 1
        both = self.asked > 1
        self._answer(json.dumps([{"name": "a", "running": True}, {"name": "b", "running": both}]))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.path, self.headers["Authorization"], json.loads(body)))
        self._answer("")

    def _answer(self, text: str) -> None:
        self.send_response(401 if self.headers["Authorization"] == basic("bad", "bad") else 200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def test_definitions_are_written_or_sent_to_the_management_api(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = secrets_in(tmp_path)
    rightsmaking.main([str(folder)])
    written = json.loads(capsys.readouterr().out)
    assert [user["name"] for user in written["users"]] == list(RIGHTS)
    assert {each["name"] for each in written["queues"]} == {q.name for q in topology.QUEUES}
    assert {each["vhost"] for each in written["permissions"]} == {"mail"}
    server = HTTPServer(("127.0.0.1", 0), Management)
    Management.taken, Management.asked = [], 0
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = URL(f"http://127.0.0.1:{server.server_port}/")
        (tmp_path / "username").write_text("admin\n")
        (tmp_path / "password").write_text("se/cret\n")
        given = ["--management", str(url), "--administrator", str(tmp_path), "--nodes", "2"]
        rightsmaking.main([str(folder), *given])
        assert Management.asked == 2
        where = tmp_path / "management"
        where.write_text(f"{url.with_user('bad').with_password('bad')}\n")
        with pytest.raises(SystemExit):
            rightsmaking.main([str(folder), "--management", str(where)])
    finally:
        server.shutdown()
        server.server_close()
    path, login, sent = Management.taken[0]
    assert (path, login) == ("/api/definitions", basic("admin", "se/cret"))
    assert sent["permissions"] == written["permissions"]
    shown = capsys.readouterr()
    assert "7 users, each with its rights, in the virtual host mail" in shown.out
    assert "401" in shown.err


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ({"tracker": "amqp://broker/mail"}, "names no user"),
        ({"tracker": "amqp://sender:x@broker/mail"}, "a user of its own"),
        ({"tracker": "amqp://tracker:x@broker/"}, "one virtual host"),
    ],
)
def test_urls_that_make_no_users_of_their_own_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], urls: dict[str, str], said: str
) -> None:
    with pytest.raises(SystemExit):
        rightsmaking.main([str(secrets_in(tmp_path, **urls))])
    assert said in capsys.readouterr().err
