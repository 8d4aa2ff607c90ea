"""The previous release's services beside the new ones, on the same queues and database, under load.

Each service is replaced while the others run on, by the new release first and then by the old one
again, so every pair of neighbours is mixed in both orders; between, mails share AMQP messages,
which the old release cannot read. At the end every mail that was accepted has arrived and its
timeline says so, every refused recipient is known as failed, clicks of mails of either release are
counted, and nothing lies in a queue. Started by `make test-upgrade`; which release is the previous
one stands in `PREVIOUS`.
"""

import asyncio
import json
import os
import re
import smtplib
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from postroad_common.broker.topology import QUEUES
from postroad_sink.client import SinkClient
from postroad_stack.certificates import ensure_certificates
from postroad_stack.errors import RestError
from postroad_stack.plan import SERVICES
from postroad_stack.rest import RestClient
from postroad_stack.stack import Stack
from postroad_testing.ports import free_port
from postroad_testing.process import ServiceProcess
from postroad_testing.queues import Queues
from postroad_testing.waiting import wait_until

pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(1200)]
PATIENCE = 120.0
BETWEEN = 25
"""Mails that are accepted between one replacement and the next."""
NO_HISTORY = 3
TOKEN = "pr_of_this_upgrade_0123456789"
SUBJECT = "Upgrade"
APART = {"BUNDLE_MAILS": "1"}
"""While a service runs that cannot read several mails in one AMQP message."""
WRITERS_OF_BUNDLES = ("ingress-smtp", "ingress-http")
PORTS = {
    "ingress-smtp": ("SMTP_PORT", "SMTPS_PORT", "MX_PORT"),
    "ingress-http": ("HTTP_PORT",),
    "tracker": ("TRACKER_PORT",),
}


@pytest.fixture(scope="module")
def previous() -> Path:
    """Return the Python of the previous release."""
    command = Path(__file__).with_name("build-previous")
    done = subprocess.run([command], capture_output=True, text=True, check=False)
    if done.returncode == NO_HISTORY:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip()) / ".venv" / "bin" / "python"


@dataclass
class Installation:
    """Servers, a sink, and one process of each service, of the release that was put in last."""

    folder: Path
    settings: dict[str, dict[str, str]]
    ca: Path
    amqp: str
    sink: SinkClient
    running: dict[str, ServiceProcess] = field(default_factory=dict)
    lives: int = 0

    @property
    def api(self) -> RestClient:
        return RestClient(f"http://127.0.0.1:{self.port('HTTP_PORT')}", TOKEN, timeout=20)

    def port(self, name: str) -> int:
        return int(next(each[name] for each in self.settings.values() if name in each))

    def put_in(self, service: str, python: Path, **more: str) -> None:
        """Start a service of that release, and stop the one that runs once it is ready."""
        self.lives += 1
        spool = self.folder / f"spool.{self.lives}"
        spool.mkdir()
        log = self.folder / f"{service}.{self.lives}.log"
        settings = self.settings[service] | {"SPOOL_DIR": str(spool)} | more
        found = ServiceProcess(service, log, python=str(python), **settings).start()
        before, self.running[service] = self.running.get(service), found
        wait_until(found.is_ready, PATIENCE, f"{service} is ready")
        if before is not None:
            before.close()

    def close(self) -> None:
        for process in self.running.values():
            process.close()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("upgrade")
    (folder / "tls").mkdir()
    made = ensure_certificates(folder / "tls", ("localhost", "127.0.0.1"))
    given = {
        f"POSTROAD_{name}": os.environ[f"POSTROAD_TEST_{name}"]
        for name in ("AMQP_URL", "MONGODB_URI")
        if f"POSTROAD_TEST_{name}" in os.environ
    }
    only = ("rabbitmq", "mongod", "sink")
    with Stack.start(folder / "servers", env=given, only=only) as servers:
        document = servers.document
        assert document.sink is not None
        route = {"domain": "*", "host": "127.0.0.1", "port": document.sink.smtp_port, "tls": "none"}
        ports = {name: str(free_port()) for names in PORTS.values() for name in names}
        common = {
            "AMQP_URL": document.amqp,
            "MONGODB_URI": document.mongodb,
            "HOSTNAME": "mail.postroad.test",
            "BOUNCE_DOMAIN": "bounces.postroad.test",
            "TRACKING_URL": f"http://127.0.0.1:{ports['TRACKER_PORT']}",
            "REUSE_PORT": "true",
        }
        own = {
            "ingress-http": {"ADMIN_TOKEN": TOKEN},
            "ingress-smtp": {"TLS_CERT": str(made.certificate), "TLS_KEY": str(made.key)},
            "sender": {"ROUTES": json.dumps([route]), "RETRY_SCHEDULE": "1,1,2"},
        }
        settings = {
            service: {name: ports[name] for name in PORTS.get(service, ())}
            | common
            | own.get(service, {})
            for service in SERVICES
        }
        with ExitStack() as stack:
            sink = stack.enter_context(SinkClient(document.sink.http))
            found = Installation(folder, settings, made.ca, document.amqp, sink)
            stack.callback(found.close)
            yield found
        servers.stop(wipe=True)


class Load:
    """Clients that hand mail in by SMTP and by REST until it is over; each mail until accepted."""

    def __init__(self, installation: Installation) -> None:
        made = installation.api.post(
            "/v1/credentials",
            {"name": "upgrade", "features": {"clicktracking": True, "bouncetracking": True}},
        )
        self._login = made["username"], made["password"]
        self._installation = installation
        self._over = threading.Event()
        self.accepted: dict[str, str] = {}
        """The id of the message by its recipient."""
        self.again = 0
        self.refusals: set[str] = set()
        self._threads = [threading.Thread(target=each) for each in (self._by_smtp, self._by_rest)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self) -> None:
        """Return when some more mail was accepted than so far, over both ways."""
        for way in ("smtp", "rest"):
            goal = self._count(way) + BETWEEN
            try:
                wait_until(lambda way=way, goal=goal: self._count(way) >= goal, PATIENCE)
            except TimeoutError:
                pytest.fail(f"nothing is accepted by {way}: {self.refusals}")

    def _count(self, way: str) -> int:
        return sum(1 for recipient in tuple(self.accepted) if recipient.startswith(way))

    def _recipients(self, way: str) -> Iterator[str]:
        """Yield a recipient again until its mail is accepted; each tenth is refused later on."""
        number = 0
        while not self._over.wait(0.1):
            kind = "gone" if number % 10 == 9 else "user"
            recipient = f"{way}-{kind}-{number}@d{number % 5}.test"
            yield recipient
            if recipient in self.accepted:
                number += 1
            else:
                self.again += 1

    def _by_rest(self) -> None:
        for recipient in self._recipients("rest"):
            mail = {"from": "shop@shop.test", "recipient": recipient, "to": recipient}
            mail |= {"subject": SUBJECT, "html": LINK, "clicktracking": True}
            try:
                answer = self._installation.api.post("/v1/send", mail)
            except RestError as error:
                self.refusals.add(str(error))
                continue
            (self.accepted[recipient],) = answer

    def _by_smtp(self) -> None:
        context = ssl.create_default_context(cafile=str(self._installation.ca))
        port = self._installation.port("SMTP_PORT")
        for recipient in self._recipients("smtp"):
            mail = EmailMessage()
            mail["From"], mail["To"], mail["Subject"] = "shop@shop.test", recipient, SUBJECT
            mail.set_content(LINK, subtype="html")
            try:
                with smtplib.SMTP("127.0.0.1", port, "shop.test", 20) as client:
                    client.starttls(context=context)
                    client.login(*self._login)
                    client.mail("shop@shop.test")
                    client.rcpt(recipient)
                    code, text = client.data(mail.as_bytes())
            except (OSError, smtplib.SMTPException) as error:
                self.refusals.add(str(error))
                continue
            if code == 250:
                (self.accepted[recipient],) = re.findall(r"\b[0-9a-v]{21}\b", text.decode())


LINK = '<p><a href="https://shop.test/offer">our offer</a></p>'


def clicked(raw: bytes) -> str:
    """Follow the tracked link of a mail; return where it leads."""
    link = re.search(rb'href=3?D?"(http[^"]+)"', raw.replace(b"=\r\n", b"").replace(b"=3D", b"="))
    assert link, raw
    answer = httpx.get(link[1].decode(), headers={"user-agent": "Mozilla/5.0"}, timeout=30)
    return str(answer.headers.get("location"))


def states(installation: Installation) -> dict[str, str]:
    """Return the state of every message that is known, by its id."""
    answer = httpx.get(
        f"{installation.api.url}/v1/messages/export",
        params={"format": "jsonl"},
        headers={"authorization": f"Bearer {TOKEN}"},
        timeout=90,
    )
    answer.raise_for_status()
    found = map(json.loads, answer.text.splitlines())
    return {message["id"]: message["state"] for message in found}


def test_services_of_two_releases_run_beside_each_other_and_nothing_is_lost(
    installation: Installation, previous: Path
) -> None:
    new = Path(sys.executable)
    for service in SERVICES:
        installation.put_in(service, previous)
    installation.sink.behave({"recipient": "*-gone-*", "reply": "550 5.1.1 No such user"})
    load = Load(installation)
    try:
        for service in SERVICES:
            load.wait_for_more()
            installation.put_in(service, new, **APART)
        # All can read bundles now; none is to be written any more when one comes that cannot.
        for settings in ({}, APART):
            for service in WRITERS_OF_BUNDLES:
                load.wait_for_more()
                installation.put_in(service, new, **settings)
        for service in SERVICES:
            load.wait_for_more()
            installation.put_in(service, previous)
        load.wait_for_more()
    finally:
        load.stop()
    goal = {to: "failed" if "-gone-" in to else "delivered" for to in load.accepted}
    missing = dict(goal)
    deadline = time.monotonic() + PATIENCE
    while missing and time.monotonic() < deadline:
        known = states(installation)
        missing = {
            to: known.get(load.accepted[to], "unknown")
            for to in missing
            if known.get(load.accepted[to]) != goal[to]
        }
    assert not missing, f"{len(missing)} of {len(goal)}: {dict(list(missing.items())[:5])}"
    mails = {
        to: mail for mail in installation.sink.messages(subject=SUBJECT) for to in mail.recipients
    }
    arrived = {to for to, state in goal.items() if state == "delivered"}
    assert arrived <= set(mails)
    # Mails of both releases, by either way: their links lead where they did.
    for way in ("smtp", "rest"):
        ours = sorted((mails[to].number, to) for to in arrived if to.startswith(way))
        for _, recipient in (ours[0], ours[len(ours) // 2], ours[-1]):
            number = mails[recipient].number
            assert clicked(installation.sink.raw(number)) == "https://shop.test/offer"
            wait_until(
                lambda recipient=recipient: "clicked" in events_of(installation, load, recipient),
                PATIENCE,
                f"the click of {recipient} is known",
            )
    waiting = asyncio.run(Queues(installation.amqp).depth(*(queue.name for queue in QUEUES)))
    assert waiting == 0
    sys.__stderr__.write(
        f"== upgrade and back: {len(goal)} accepted and accounted for, {load.again} told to come "
        "again\n"
    )


def events_of(installation: Installation, load: Load, recipient: str) -> set[str]:
    """Return the names of the events of the mail to a recipient."""
    found = installation.api.message(load.accepted[recipient]) or {}
    return {event["event"] for event in found["timeline"]}
