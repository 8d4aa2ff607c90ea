"""Hosts that talk and do not take mail, and mail with more recipients than a transaction takes."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.submission import BodyReference
from postroad_sender.connect.destination import Destination, Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.delivery.body_room import BodyRoom
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import Outcome, Status
from postroad_sender.dns.resolver import Resolver
from postroad_sender.lanes.dispatch import LaneDispatcher
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Means, Requeue
from postroad_sender.lanes.worker import work
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.throttle.controller import Caps
from postroad_smtp.client.session import Timeouts, TlsWish
from postroad_testing.factories import outbound, outbound_recipient
from postroad_testing.waiting import until

MIME = b"Subject: hello\r\n\r\nhello\r\n"
CLOSE = "[close]"


class Host:
    """A receiving server that answers each of `MAIL RCPT DATA DOT` as told; `[close]` hangs up.

    It takes at most `most` recipients in a transaction and answers `excess` to the others; `ill`
    are recipients with replies of their own.
    """

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.ill: dict[str, str] = {}
        self.most = 1000
        self.excess = "452 4.5.3 too many recipients"
        self.sessions = 0
        self.taken: list[list[str]] = []
        self.messages: list[bytes] = []
        self.commands: list[str] = []
        self.logins: list[str] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int) -> int:
        self._server = await asyncio.start_server(self._serve, address, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.sessions += 1
        try:
            writer.write(b"220 host\r\n")
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients: list[str] = []
        login = ""
        while True:
            line = await self._read(reader)
            verb, address = line[:4].upper(), line.partition("<")[2].partition(">")[0]
            reply = self.answers.get(verb, "250 2.0.0 ok")
            if verb == "AUTH":
                login = base64.b64decode(line.split()[2]).split(b"\0")[1].decode()
                reply = "235 2.7.0 ok"
            elif verb == "MAIL":
                recipients = []
                self.commands.append(line)
            elif verb == "RCPT":
                reply = self.ill.get(address, reply)
                if len(recipients) >= self.most:
                    reply = self.excess
                if reply.startswith("2"):
                    recipients.append(address)
            elif verb == "DATA":
                reply = self.answers.get(verb, "354 go" if recipients else "503 5.5.1 nobody")
            if not await self._say(writer, reply):
                return
            if verb == "DATA" and reply.startswith("354"):
                message = (await reader.readuntil(b"\r\n.\r\n")).removesuffix(b".\r\n")
                reply = self.answers.get("DOT", "250 2.0.0 queued")
                if reply.startswith("2"):
                    self.taken.append(recipients)
                    self.messages.append(message)
                    self.logins.append(login)
                if not await self._say(writer, reply):
                    return

    async def _read(self, reader: asyncio.StreamReader) -> str:
        return (await reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")

    async def _say(self, writer: asyncio.StreamWriter, reply: str) -> bool:
        if reply == CLOSE:
            return False
        writer.write(f"{reply}\r\n".encode())
        await writer.drain()
        return not reply.startswith("421")


class Sloppy(Host):
    """One that offers PIPELINING and answers what comes together with `250 ok`, unread."""

    def __init__(self) -> None:
        super().__init__(EHLO="250-host\r\n250 PIPELINING")

    async def _read(self, reader: asyncio.StreamReader) -> str:
        octets = await reader.read(65536)
        count = octets.count(b"\r\n")
        if count > 1:
            self.answers["SLOP"] = "\r\n".join(["250 ok"] * count)
            return "SLOP"
        if not octets:
            raise asyncio.IncompleteReadError(octets, None)
        return octets.decode().removesuffix("\r\n")


class _Job(Job):
    """A job that came from no broker, so none can take it back."""

    @property
    def is_ours(self) -> bool:
        return True


class Ended:
    """Where jobs end: what came of each recipient."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[Outcome]] = {}
        self.remembered: list[str] = []
        self.requeued: list[tuple[str, RequeueReason]] = []

    def requeue(self, job: Job, _seconds: float, reason: RequeueReason, _text: str) -> None:
        self.requeued += [(recipient.address, reason) for recipient in job.message.recipients]

    def remember(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        for recipient, outcome in zip(job.message.recipients, outcomes, strict=True):
            if outcome.status is Status.DELIVERED:
                self.remembered.append(recipient.address)

    def finish(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        for recipient, outcome in zip(job.message.recipients, outcomes, strict=True):
            self.outcomes.setdefault(recipient.address, []).append(outcome)


class Site:
    """A sender from its dispatcher on, and the hosts that take mail for `site.test`."""

    def __init__(self, name_server: Any, stack: AsyncExitStack) -> None:
        self._dns = name_server
        self._stack = stack
        self.ended = Ended()
        self.port = 0
        self.hosts: list[Host] = []
        self.defects: set[str] = set()
        """The addresses whose mail nothing can read."""
        self.room = BodyRoom(100, within=0.05)
        self.lanes_broken = 0
        """How many lanes cannot be made."""

    async def open(self, *hosts: Host, logins: Sequence[str] = (), openings: float = 50.0) -> None:
        """Start `hosts`; with `logins`, each is that of the route to `<login>.test`."""
        self.hosts = list(hosts)
        for number, host in enumerate(hosts, 1):
            self.port = await host.start(f"127.0.0.{number}", self.port)
            self._stack.push_async_callback(host.stop)
            self._dns.zone[(f"mx{number}.test", "A")] = [f"127.0.0.{number}"]
        self._dns.zone[("site.test", "MX")] = [
            f"{number} mx{number}.test." for number in range(1, len(hosts) + 1)
        ]
        resolver = Resolver(self._dns.address, "me.test", permits=lambda _: True, lifetime=60.0)
        dialer = Dialer(
            resolver, "me.test", Contexts.make(), timeouts=Timeouts(60.0, 60.0, 60.0, 60.0, 60.0)
        )
        route = Route(domain="*", port=self.port, tls=TlsWish.NONE)
        smart = {"host": "127.0.0.1", "username": "", "password": "x"}
        routes = [
            route.model_copy(update=smart | {"domain": f"{login}.test", "username": login})
            for login in logins
        ]
        means = Means(
            dialer=dialer,
            connection_limit=ConnectionLimit(100),
            disposition=self.ended,  # type: ignore[arg-type]
            pieces=self._pieces,
            idle_seconds=600.0,
            most_messages=1000,
            work=work,
            openings_per_second=openings,
            room=self.room,
        )
        self.dispatcher = LaneDispatcher(
            Destinations(Routes((*routes, route)), resolver),
            self.ended,  # type: ignore[arg-type]
            partial(self._make_pool, means),
            caps=Caps(connections=1),
        )
        self._stack.push_async_callback(self.dispatcher.stop)

    def _make_pool(
        self,
        means: Means,
        /,
        lane: Lane[Job],
        destination: Destination,
        *,
        home: Shard | None,
        requeue: Requeue,
    ) -> ConnectionPool:
        if self.lanes_broken:
            self.lanes_broken -= 1
            raise RuntimeError("a defect")
        return ConnectionPool(lane, destination, means, home=home, requeue=requeue)

    async def _pieces(self, job: Job) -> tuple[bytes | memoryview, ...]:
        if job.message.recipients[0].address in self.defects:
            raise RuntimeError("a defect")
        return (job.body,)

    async def send(self, *addresses: str, octets: bytes = MIME, **changes: Any) -> list[Outcome]:
        """Hand in one message for `addresses`; returns what came of each."""
        values: dict[str, Any] = {
            "recipients": tuple(outbound_recipient(one, id=one) for one in addresses),
            "size": len(octets),
            "eightbit": not octets.isascii(),
        }
        message = outbound(**values | changes)
        domain = addresses[0].partition("@")[2]
        self.dispatcher.place(_Job(message, memoryview(octets), domain, Shard("x", 100)))
        await until(lambda: all(address in self.ended.outcomes for address in addresses))
        return [self.ended.outcomes[address][-1] for address in addresses]


@pytest.fixture
async def site(name_server: Any) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(name_server, stack)


async def test_mail_that_an_attempt_raises_an_error_for_waits_and_keeps_no_other(site: Site):
    host = Host()
    await site.open(host)
    site.defects.add("broken@site.test")
    message = outbound(recipients=(outbound_recipient("broken@site.test"),), size=len(MIME))
    site.dispatcher.place(_Job(message, memoryview(MIME), "site.test", Shard("x", 100)))
    (outcome,) = await site.send("fine@site.test")
    assert outcome.status is Status.DELIVERED
    assert site.ended.requeued == [("broken@site.test", RequeueReason.HANDLER_FAILED)]
    assert host.taken == [["fine@site.test"]]


async def test_large_mail_that_finds_no_room_in_memory_waits_and_keeps_no_other(site: Site):
    host = Host()
    await site.open(host)
    body = BodyReference(file="large", size=1000)
    async with site.room.hold(outbound(body=body)):
        large = outbound(
            recipients=(outbound_recipient("large@site.test"),),
            body=body.model_copy(update={"file": "another"}),
        )
        site.dispatcher.place(_Job(large, memoryview(MIME), "site.test", Shard("x", 100)))
        (outcome,) = await site.send("fine@site.test")
    assert outcome.status is Status.DELIVERED
    await until(lambda: bool(site.ended.requeued))
    assert site.ended.requeued == [("large@site.test", RequeueReason.BODY_UNAVAILABLE)]


@pytest.mark.parametrize("known", [False, True])
async def test_mail_that_cannot_be_placed_waits_and_keeps_no_other_of_its_domain(
    site: Site, *, known: bool
):
    host = Host(EHLO="250-host\r\n250 AUTH PLAIN")
    await site.open(host, logins=["smart"])
    site.lanes_broken = 1
    domain = "smart.test" if known else "site.test"  # by a route, or after a look-up
    for name in ("first", "second"):
        message = outbound(recipients=(outbound_recipient(f"{name}@{domain}"),), size=len(MIME))
        site.dispatcher.place(_Job(message, memoryview(MIME), domain, Shard("x", 100)))
    await until(lambda: f"second@{domain}" in site.ended.outcomes)
    assert site.ended.requeued == [(f"first@{domain}", RequeueReason.ROUTING_FAILED)]
    assert host.taken == [[f"second@{domain}"]]


async def test_server_that_cannot_pipeline_gets_commands_one_by_one_the_next_time(site: Site):
    host = Sloppy()
    await site.open(host)
    (outcome,) = await site.send("one@site.test")
    assert (outcome.status, outcome.reply.enhanced) == (Status.DEFERRED, "4.5.0")
    (outcome,) = await site.send("two@site.test")
    assert outcome.status is Status.DELIVERED
    assert host.taken == [["two@site.test"]]


ILL = [
    {"MAIL": "451 4.3.0 temporary failure"},
    {"MAIL": "421 4.3.2 shutting down"},
    {"MAIL": CLOSE},
    {"RCPT": "451 4.3.0 lookup failure"},
    {"RCPT": "450 4.7.1 service unavailable - try again later"},
    {"RCPT": "421 4.3.2 shutting down"},
    {"RCPT": CLOSE},
    {"DATA": "452 4.3.1 insufficient system storage"},
    {"DATA": CLOSE},
    {"DATA": "250 2.0.0 ok"},
    {"DOT": "451 4.3.0 queue file write error"},
    {"DOT": "421 4.3.0 later"},
]


@pytest.mark.parametrize("answers", ILL, ids=lambda answers: next(iter(answers.items()))[0])
async def test_next_host_takes_what_the_first_does_not_and_the_first_is_remembered(
    site: Site, answers: dict[str, str]
):
    first, second = Host(**answers), Host()
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert outcome.status is Status.DELIVERED
    assert outcome.server is not None
    assert outcome.server.host == "mx2.test"
    assert "mx1.test" in outcome.said
    assert first.sessions == 1
    assert second.taken == [["one@site.test"]]
    await site.send("two@site.test")
    assert (first.sessions, second.sessions) == (1, 1)


@pytest.mark.parametrize(
    "reply",
    [
        "450 4.2.0 greylisted, please come back later",
        "452 4.2.2 mailbox full",
        "450 4.1.1 user is not known yet",
        "450 4.2.1 mailbox disabled for now",
        "450 Requested mail action not taken: mailbox unavailable",
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
        "550 5.1.1 no such user",
    ],
)
async def test_what_is_about_the_mailbox_is_not_asked_of_another_host(site: Site, reply: str):
    first, second = Host(RCPT=reply), Host()
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert outcome.status is (Status.FAILED if reply.startswith("5") else Status.DEFERRED)
    assert second.sessions == 0
    await site.send("two@site.test")
    assert second.sessions == 0


async def test_only_those_that_the_first_host_left_are_offered_to_the_next(site: Site):
    first, second = Host(), Host()
    first.ill = {"b@site.test": "451 4.3.0 later", "c@site.test": "550 5.1.1 unknown"}
    await site.open(first, second)
    a, b, c = await site.send("a@site.test", "b@site.test", "c@site.test")
    assert (a.status, b.status, c.status) == (Status.DELIVERED, Status.DELIVERED, Status.FAILED)
    assert first.taken == [["a@site.test"]]
    assert second.taken == [["b@site.test"]]
    assert [one.server and one.server.host for one in (a, b)] == ["mx1.test", "mx2.test"]
    assert site.ended.remembered[0] == "a@site.test"  # before the second host was called
    assert all(len(outcomes) == 1 for outcomes in site.ended.outcomes.values())


async def test_connection_lost_behind_the_dot_is_not_sent_to_the_next_host_at_once(site: Site):
    first, second = Host(DOT=CLOSE), Host()
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert (outcome.status, outcome.certain) == (Status.DEFERRED, False)
    assert second.sessions == 0
    (outcome,) = await site.send("two@site.test")  # as its next attempt would be
    assert outcome.status is Status.DELIVERED
    assert second.taken == [["two@site.test"]]
    assert first.sessions == 1


async def test_when_no_host_takes_it_the_message_is_deferred_once_and_tells_both(site: Site):
    first, second = Host(MAIL="451 4.3.0 first"), Host(MAIL="451 4.3.0 second")
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert outcome.status is Status.DEFERRED
    assert outcome.reply.text == "second"
    assert "451 4.3.0 first" in outcome.said
    assert (first.sessions, second.sessions) == (1, 1)
    assert len(site.ended.outcomes["one@site.test"]) == 1


async def test_a_host_that_is_alone_keeps_its_session_for_the_next_message(site: Site):
    alone = Host(RCPT="451 4.3.0 later")
    await site.open(alone)
    await site.send("one@site.test")
    await site.send("two@site.test")
    assert alone.sessions == 1


async def test_host_that_hangs_up_behind_ehlo_is_passed_over(site: Site):
    first, second = Host(EHLO="421 4.3.2 not now"), Host()
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert outcome.status is Status.DELIVERED
    assert second.taken == [["one@site.test"]]


# -- too many recipients


@pytest.mark.parametrize(
    "excess",
    [
        "452 4.5.3 too many recipients",
        "552 too many recipients",
        "552 5.5.3 Error: too many recipients",
        "452 Too many recipients received this transaction",
        "450 4.5.3 recipient limit reached",
        "552 Too much recipients",
        "452 allowed number of recipients exceeded",
    ],
)
async def test_recipients_that_are_too_many_go_in_the_next_transaction(site: Site, excess: str):
    host = Host()
    host.most, host.excess = 3, excess
    await site.open(host)
    addresses = [f"r{number}@site.test" for number in range(8)]
    outcomes = await site.send(*addresses)
    assert [outcome.status for outcome in outcomes] == [Status.DELIVERED] * 8
    assert host.taken == [addresses[:3], addresses[3:6], addresses[6:]]
    assert host.sessions == 1
    lane = site.dispatcher.lanes()[0]
    assert not lane.controller.effects(asyncio.get_running_loop().time())
    assert lane.controller.connections(0.0) > 0


async def test_recipients_that_are_too_many_from_the_first_on_are_deferred_and_not_failed(
    site: Site,
):
    host = Host()
    host.most, host.excess = 0, "552 too many recipients"
    await site.open(host)
    outcomes = await site.send("a@site.test", "b@site.test")
    assert [outcome.status for outcome in outcomes] == [Status.DEFERRED] * 2
    assert host.taken == []


async def test_objection_to_how_many_an_hour_is_not_taken_for_too_many_at_once(site: Site):
    host = Host()
    host.most, host.excess = 1, "450 4.7.1 too many recipients this hour"
    await site.open(host)
    taken, left = await site.send("a@site.test", "b@site.test")
    assert (taken.status, left.status) == (Status.DELIVERED, Status.DEFERRED)
    assert host.taken == [["a@site.test"]]


# -- connections


async def test_routes_to_one_host_with_different_logins_share_no_connection(site: Site):
    host = Host(EHLO="250-host\r\n250 AUTH PLAIN")
    await site.open(host, logins=["anna", "bert"])
    for domain in ("anna.test", "bert.test", "anna.test", "bert.test"):
        await site.send(f"u@{domain}")
        site.ended.outcomes.clear()
    assert host.logins == ["anna", "bert", "anna", "bert"]
    assert host.sessions == 2
    keys = [str(lane.key) for lane in site.dispatcher.lanes()]
    assert keys == [f"|{login}@127.0.0.1:{site.port}" for login in ("anna", "bert")]


async def test_connections_of_a_lane_are_opened_no_faster_than_it_may(site: Site):
    host = Host(DOT="250 2.0.0 queued\r\n421 4.3.2 one message each")  # a new session for each
    await site.open(host, openings=4.0)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(site.send(f"u{number}@site.test") for number in range(12)))
    seconds = asyncio.get_running_loop().time() - began
    assert host.sessions >= 12
    assert host.sessions <= 1 + 4.0 * (1.0 + seconds)


# -- servers without 8BITMIME

EIGHT = "Subject: Grüße\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n".encode()


@pytest.mark.parametrize("changes", [{"kind": "dsn", "mail_from": ""}, {"kind": "forward"}, {}])
async def test_8bit_content_is_converted_where_8bitmime_is_not_offered(
    site: Site, changes: dict[str, Any]
):
    host = Host()
    await site.open(host)
    (outcome,) = await site.send("one@site.test", octets=EIGHT, **changes)
    assert outcome.status is Status.DELIVERED
    (message,) = host.messages
    assert message.isascii()
    assert b"Gr=C3=BC=C3=9Fe" in message


async def test_signed_mail_goes_out_as_it_is_where_8bitmime_is_not_offered(site: Site):
    host = Host()
    await site.open(host)
    signed = b"DKIM-Signature: v=1; a=rsa-sha256\r\n" + EIGHT
    (outcome,) = await site.send("one@site.test", octets=signed)
    assert outcome.status is Status.DELIVERED
    assert host.messages == [signed]


async def test_8bit_content_goes_out_as_it_is_where_8bitmime_is_offered(site: Site):
    host = Host(EHLO="250-host\r\n250-SIZE 1000\r\n250 8BITMIME")
    await site.open(host)
    (outcome,) = await site.send("one@site.test", octets=EIGHT, kind="dsn")
    assert outcome.status is Status.DELIVERED
    assert host.messages == [EIGHT]
    assert host.commands == [f"MAIL FROM:<a@b.test> SIZE={len(EIGHT)} BODY=8BITMIME"]


async def test_size_that_is_declared_is_that_of_what_is_sent(site: Site):
    host = Host(EHLO="250-host\r\n250 SIZE 1000")
    await site.open(host)
    await site.send("one@site.test", octets=EIGHT, kind="dsn")
    assert host.commands == [f"MAIL FROM:<a@b.test> SIZE={len(host.messages[0])}"]


# -- servers without SMTPUTF8


@pytest.mark.parametrize(
    ("ehlo", "octets", "sent"),
    [
        ("250 host", b"Subject: x\r\n\r\nx\r\n", b"Subject: x\r\n\r\nx\r\n"),
        ("250-host\r\n250 8BITMIME", b"DKIM-Signature: x\r\n" + EIGHT, None),
        ("250-host\r\n250 8BITMIME", EIGHT, b"Subject: =?utf-8?b?"),
        ("250 host", EIGHT, b"Subject: =?utf-8?b?"),
    ],
)
async def test_mail_that_was_declared_with_smtputf8_without_need_is_taken_without_it(
    site: Site, ehlo: str, octets: bytes, sent: bytes | None
):
    host = Host(EHLO=ehlo)
    await site.open(host)
    (outcome,) = await site.send("one@site.test", octets=octets, smtputf8=True)
    assert outcome.status is Status.DELIVERED
    assert "SMTPUTF8" not in host.commands[0]
    assert host.messages[0].startswith(octets if sent is None else sent)


@pytest.mark.parametrize(
    ("address", "octets"),
    [
        ("grüße@site.test", MIME),
        ("one@site.test", "From: Jörg <jörg@b.test>\r\n\r\nx\r\n".encode()),
    ],
)
async def test_mail_with_addresses_beyond_ascii_fails_where_smtputf8_is_not_offered(
    site: Site, address: str, octets: bytes
):
    host = Host()
    await site.open(host)
    (outcome,) = await site.send(address, octets=octets, smtputf8=True)
    assert (outcome.status, outcome.reply.enhanced) == (Status.FAILED, "5.6.7")
    assert host.commands == []
