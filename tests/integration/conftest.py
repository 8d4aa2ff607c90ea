"""One stack for all tests of this folder, and what a test does with it: `road`.

The stack is the one of `postroad up`: real servers, every service as a process of its own, and the
mail sink as the receiving server.
"""

import json
import re
import smtplib
import ssl
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from postroad_common.mail.identifiers import new_id
from postroad_sink.client import SinkClient, SinkMessage
from postroad_stack.errors import RestError, StackError
from postroad_stack.plan import SERVICES
from postroad_stack.ports import PortBook
from postroad_stack.rest import RestClient
from postroad_stack.stack import Stack
from postroad_stack.state_dir import StateDir
from postroad_testing.spancollector import SpanCollector, running_span_collector

PATIENCE = 90.0
FEATURES = ("inlinecss", "clicktracking", "openstracking", "preventscam", "bouncetracking")
HTML = """<!DOCTYPE html>
<html><head><title>News</title><style>
p.lead { color: #aa3300; font-size: 18px }
@media (max-width: 600px) { p.lead { font-size: 22px } }
</style></head><body>
<p class="lead">Dear reader, <a href="https://shop.test/offer?id=7&amp;x=%20y#top">our offer</a></p>
<p>See <a href="https://shop.test/">https://shop.test/</a> or
<a href="mailto:help@shop.test">write to us</a>,
<a href="https://shop.test/private" data-track="off">untracked</a>.</p>
<img src="https://shop.test/logo.png" alt="logo">
</body></html>
"""


@dataclass(frozen=True)
class Accepted:
    """What the listener said to the final dot; one id per recipient, in their order."""

    reply: str
    ids: tuple[str, ...]

    @property
    def id(self) -> str:
        assert len(self.ids) == 1
        return self.ids[0]


@dataclass
class Road:
    """The whole stack from the outside."""

    stack: Stack
    api: RestClient
    sink: SinkClient
    patience: float = PATIENCE
    _logins: dict[str, tuple[str, str]] = field(default_factory=dict)

    def login(self, features: Sequence[str] = FEATURES, **options: Any) -> tuple[str, str]:
        """User name and password of a login with exactly these features."""
        key = ",".join(features) + repr(sorted(options.items()))
        if key not in self._logins:
            made = self.api.post(
                "/v1/credentials",
                {
                    "name": f"test {key[:60]}",
                    "features": {name: name in features for name in FEATURES},
                    "forward_bounces": True,
                    **options,
                },
            )
            self._logins[key] = (made["username"], made["password"])
        return self._logins[key]

    def connect(self, login: tuple[str, str] | None = None) -> smtplib.SMTP:
        """Open a session on the submission listener, under TLS and logged in."""
        document = self.stack.document
        assert document.smtp is not None
        client = smtplib.SMTP(document.smtp.host, document.smtp.port, "app.test", 90)
        client.starttls(context=ssl.create_default_context(cafile=document.ca))
        client.login(*(login or self.login()))
        return client

    def submit(
        self,
        content: bytes | EmailMessage,
        recipients: Sequence[str],
        *,
        envelope: str = "sender@shop.test",
        login: tuple[str, str] | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Accepted:
        """Hand a mail in over SMTP; it must be accepted for every recipient."""
        with self.connect(login) as client:
            return self.submit_on(client, content, recipients, envelope, mail_options, rcpt_options)

    @staticmethod
    def data_reply(client: smtplib.SMTP, content: bytes) -> tuple[int, bytes]:
        """Return the reply to the content, or to DATA where it is refused before the content."""
        try:
            return client.data(content)
        except smtplib.SMTPDataError as refused:
            return refused.args[0], refused.args[1]

    @staticmethod
    def submit_on(
        client: smtplib.SMTP,
        content: bytes | EmailMessage,
        recipients: Sequence[str],
        envelope: str = "sender@shop.test",
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Accepted:
        """One transaction on an open session; it must be accepted."""
        if isinstance(content, EmailMessage):
            content = content.as_bytes(policy=policy.SMTP)
        code, text = client.mail(envelope, mail_options)
        assert code == 250, text
        for recipient in recipients:
            code, text = client.rcpt(recipient, rcpt_options)
            assert code == 250, text
        code, reply = Road.data_reply(client, content)
        assert code == 250, reply
        lines = reply.decode().splitlines()
        assert lines[-1].startswith("2.0.0 Ok, queued as "), lines
        ids = re.findall(r"\b[0-9a-v]{21}\b", "\n".join(lines))
        return Accepted(lines[-1], tuple(dict.fromkeys(ids)))

    def submit_again(self, content: bytes | EmailMessage, recipients: Sequence[str]) -> Accepted:
        """Hand a mail in as clients do: once more where they are told to try later.

        A broker that is just back, or a busy machine, may be too slow for the time of an answer.
        """
        accepted: list[Accepted] = []

        def taken() -> bool:
            try:
                accepted.append(self.submit(content, recipients))
            except AssertionError as refused:
                if "4.3.0" not in str(refused):
                    raise
            return bool(accepted)

        self.until(taken, "the mail is accepted")
        return accepted[0]

    def known(self, message_id: str) -> dict[str, Any]:
        """Return what is known of the message now; nothing while the database is not back."""
        try:
            return self.api.message(message_id) or {}
        except RestError as error:
            if error.status != 503:
                raise
            return {}

    def message(self, message_id: str) -> dict[str, Any]:
        """Return the message with its timeline, as soon as it is known."""
        found: dict[str, Any] = {}

        def known() -> bool:
            found.update(self.known(message_id))
            return bool(found)

        self.until(known, f"{message_id} is known")
        return found

    def wait_state(self, message_id: str, *states: str) -> dict[str, Any]:
        """Return the message once it is in one of `states`."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update(self.known(message_id))
            return found.get("state") in states

        self.until(reached, f"{message_id} is {' or '.join(states)}", lambda: str(found))
        return found

    def wait_event(self, message_id: str, event: str) -> dict[str, Any]:
        """Return the first event of this name in the message's timeline."""
        found: list[dict[str, Any]] = []

        def happened() -> bool:
            message = self.known(message_id)
            found.extend(e for e in message.get("timeline", ()) if e["event"] == event)
            return bool(found)

        self.until(happened, f"{message_id} has the event {event}")
        return found[0]

    def received(self, subject: str, count: int = 1) -> list[SinkMessage]:
        """Return what arrived under this subject, once it is `count` mails."""
        found: list[SinkMessage] = []

        def arrived() -> bool:
            found[:] = [m for m in self.sink.messages(subject=subject) if m.subject == subject]
            return len(found) >= count

        self.until(arrived, f"{count} mails with the subject {subject} arrived")
        return found

    def until(
        self,
        condition: Callable[[], bool],
        what: str,
        detail: Callable[[], str] = lambda: "",
    ) -> None:
        """Wait until `condition` holds."""
        deadline = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"after {self.patience:.0f} s it was not so that {what}: {detail()}")
            time.sleep(0.05)

    def get(self, url: str) -> httpx.Response:
        """Follow nothing: the bare answer of the tracker."""
        return httpx.get(url, headers={"user-agent": "Mozilla/5.0 test"}, timeout=90)


def mail(
    subject: str,
    *,
    html: str | None = HTML,
    headers: Mapping[str, str] | None = None,
    text: str = "Dear reader, see https://shop.test/offer?id=7\n",
    sender: str = "Shop <news@shop.test>",
    to: str = "bob@receiver.test",
) -> EmailMessage:
    """Return a mail as shops send it."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    for name, value in (headers or {}).items():
        message[name] = value
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    return message


def _port(folder: Path, name: str) -> int:
    """Return the port that a stack in this folder is going to use."""
    state = StateDir(folder)
    state.create()
    book = PortBook(state.ports)
    number = book.port(name)
    book.release()
    return number


def _route(domain: str, port: int) -> dict[str, object]:
    return {"domain": domain, "host": "127.0.0.1", "port": port, "tls": "none"}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where `stack` and `other_stack` are."""
    return tmp_path_factory.mktemp("stack"), tmp_path_factory.mktemp("other")


@pytest.fixture(scope="session")
def collector() -> Iterator[SpanCollector]:
    """Yield where `stack` sends its spans."""
    with running_span_collector() as server:
        yield server


@pytest.fixture(scope="session")
def stack(folders: tuple[Path, Path], collector: SpanCollector) -> Iterator[Stack]:
    """Start a stack with short retries, and a way to `other_stack`."""
    here, there = folders
    routes = [_route("*.other.test", _port(there, "mx")), _route("*", _port(here, "sink-smtp"))]
    env = {
        "POSTROAD_RETRY_SCHEDULE": "1,1,2",
        # Tests that log in wrongly share one address, and should not wait for its sins; nor
        # for a changed login to be read again.
        "POSTROAD_LIMITS": json.dumps(
            {"smtp": {"auth_delay_max_seconds": 0.2, "auth_refresh_seconds": 0.5}}
        ),
        "POSTROAD_ROUTES": json.dumps(routes),
        "POSTROAD_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        "POSTROAD_OTLP_URL": collector.url,
    }
    with _started(here, env) as stack:
        yield stack
        stack.stop(wipe=True)


def _started(folder: Path, env: dict[str, str]) -> Stack:
    """Start a stack; where a machine with much other work lets it miss its time, once more.

    All tests of this folder need it. The warning has what its logs say, for who has to find out.
    """
    try:
        return Stack.start(folder, env=env)
    except StackError as error:
        ends = [
            "\n".join([log.name, *log.read_text(errors="replace").splitlines()[-10:]])
            for log in sorted((folder / "logs").glob("*.log"))
        ]
        warnings.warn("\n\n".join([f"the stack did not start: {error}", *ends]), stacklevel=1)
    return Stack.start(folder, env=env)


@pytest.fixture
def other_road(
    road: Road, folders: tuple[Path, Path], amqp_url: str, mongodb_uri: str
) -> Iterator[Road]:
    """Start a second Postroad, *.other.test, that delivers to the first and to its sink."""
    document = road.stack.document
    assert document.mx is not None
    assert document.sink is not None
    routes = [
        _route("*.postroad.test", document.mx.port),
        _route("*", document.sink.smtp_port),
    ]
    with (
        Stack.start(
            folders[1],
            env={
                "POSTROAD_AMQP_URL": amqp_url,
                "POSTROAD_MONGODB_URI": mongodb_uri,
                "POSTROAD_HOSTNAME": "mail.other.test",
                "POSTROAD_BOUNCE_DOMAIN": "bounces.other.test",
                "POSTROAD_ROUTES": json.dumps(routes),
                # The first one keeps idle connections, which a listener waits for when it ends.
                "POSTROAD_GRACE_SECONDS": "1",
            },
            only=[name for name in SERVICES if name != "tracker"],
        ) as stack,
    ):
        yield Road(stack, stack.api(), road.sink)


@pytest.fixture(scope="session")
def session_road(stack: Stack) -> Iterator[Road]:
    with SinkClient(stack.sink_url) as sink:
        yield Road(stack, stack.api(), sink)


@pytest.fixture
def road(session_road: Road) -> Iterator[Road]:
    """Yield the road, with a receiving server that behaves well when a test starts."""
    session_road.sink.behave()
    yield session_road
    session_road.sink.behave()


@pytest.fixture
def subject() -> str:
    """Return a subject that no other mail has."""
    return f"Mail {new_id()}"


@pytest.fixture
def make_mail() -> Callable[..., EmailMessage]:
    return mail
