"""The handler on a real broker and a real database: what arrives where; nothing gets lost."""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from yarl import URL

from postroad_common.broker import BrokerLink, Consumer, EventWriter, Publisher, topology
from postroad_common.broker.suspects import REDELIVERIES
from postroad_common.errors import StoreAway
from postroad_common.mail.identifiers import id_time, new_id
from postroad_common.mail.requeue import RequeueReason
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.events import Event, EventBatch, EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.returns import SUPPRESSION, DeliveryFailure
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.archive import NotKept
from postroad_common.store.database import Database
from postroad_common.store.domains import RETURN_PATH, DkimKey
from postroad_common.store.suppressions import Suppression
from postroad_common.tokens import Keyring, LinkSigner
from postroad_testing.forwarder import Forwarder
from postroad_testing.pace import timed
from postroad_testing.waiting import PATIENCE, until
from postroad_transformer.archive import ArchiveWriter
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.composing.rules import Rules
from postroad_transformer.handler import Dependencies, Transformer
from postroad_transformer.lookups.images import ImageStore
from postroad_transformer.lookups.signing_keys import SigningKeys
from postroad_transformer.lookups.snapshot import SuppressionSnapshot
from postroad_transformer.lookups.suppressions import SuppressionCheck
from postroad_transformer.publishing import COPIES, GROUPS_AT_ONCE, PublishingPolicy
from postroad_transformer.templates import TemplateMaker
from postroad_transformer.workers.pool import WorkerPool

BASE = "https://track.example.com"
KEYRING = Keyring(["a secret of sufficient length"])
LINKS = LinkSigner(KEYRING, BASE)
BOUNCES = BounceAddresses(KEYRING, "bounce.example.net", 1e10)
PLAIN = Features()
RULES = Rules(HeaderRules("mx.example.net"), BASE)
NOW = 1_780_000_000.0
RAW = (
    b"From: Shop <shop@news.example.com>\r\nTo: r@d.test\r\nBcc: secret@d.test\r\nSubject: Hi\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b'<style>p{color:red}</style><p>Hello</p><a href="http://a.test/x">Go</a>\r\n'
)
Make = Callable[..., Submission]


class Road:
    """A transformer between real queues."""

    def __init__(self, amqp_url: str, database: Database, inline_body_max: int = 4096) -> None:
        self.url = amqp_url
        self.database = database
        self.outgoing = BrokerLink(amqp_url, "test publish")
        self.incoming = BrokerLink(amqp_url, "test consume")
        self.publisher = Publisher(self.outgoing)
        self.events = EventWriter(self.publisher)
        self.workers = WorkerPool()
        self.snapshot = SuppressionSnapshot(database.suppressions)
        needs = Dependencies(
            self.publisher,
            self.events,
            database.bodies,
            SigningKeys(database.domains),
            SuppressionCheck(database.suppressions, self.snapshot),
            ImageStore(database.images),
            ArchiveWriter(self.publisher, database.archive, database.bodies, 7.0),
            self.workers,
        )
        policy = PublishingPolicy(RULES, LINKS, BOUNCES, inline_body_max)
        self.transformer = Transformer(needs, policy)
        self.consumer = Consumer(self.incoming, self.publisher, topology.ACCEPTED, ends_later=True)

    async def start(self) -> None:
        self.outgoing.start()
        self.incoming.start()
        self.events.start()
        await asyncio.wait_for(self.outgoing.up.wait(), 90)
        await self.consumer.start(self.transformer.transform)

    async def stop(self) -> None:
        await self.consumer.stop()
        await self.transformer.close()
        await self.workers.close()
        await self.events.close()
        await self.incoming.close()
        await self.outgoing.close()

    async def submit(self, submission: Submission, raw: bytes = RAW) -> None:
        body = b"" if submission.body is not None else raw
        await self.publisher.publish("", topology.ACCEPTED.name, encode(submission, body))

    async def taken(
        self, queues: Sequence[str], count: int, of: Callable[[bytes], int] = lambda _: 1
    ) -> list[bytes]:
        """Return the bodies from `queues` until they hold `count`."""
        found: list[bytes] = []
        enough = asyncio.Event()

        async def take(message: AbstractIncomingMessage) -> None:
            found.append(message.body)
            if sum(map(of, found)) >= count:
                enough.set()

        connection = await aio_pika.connect(self.url)
        async with connection, asyncio.timeout(90):
            channel = await connection.channel()
            for name in queues:
                await (await channel.get_queue(name)).consume(take, no_ack=True)
            await enough.wait()
        return found

    async def outbound(self, count: int) -> list[tuple[OutboundMessage, bytes]]:
        names = [queue.name for queue in topology.SHARD_QUEUES]
        frames = await self.taken(names, count)
        decoded = [decode(OutboundMessage, frame) for frame in frames]
        return sorted(((m, bytes(b)) for m, b in decoded), key=lambda pair: pair[0].id)

    async def told(self, count: int) -> list[Event]:
        frames = await self.taken(
            [topology.EVENTS.name], count, lambda frame: len(decode(EventBatch, frame)[0].events)
        )
        return [event for frame in frames for event in decode(EventBatch, frame)[0].events]

    async def depth(self, queue: str) -> int:
        connection = await aio_pika.connect(self.url)
        async with connection:
            channel = await connection.channel()
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.message_count or 0


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    yield database
    await database.close()


@pytest.fixture
async def road(
    amqp_url: str, database: Database, request: pytest.FixtureRequest
) -> AsyncIterator[Road]:
    """Yield a transformer whose limit of bodies on the broker is the parameter, or small."""
    road = Road(amqp_url, database, getattr(request, "param", 4096))
    await road.start()
    yield road
    await road.stop()


async def test_the_archive_gets_what_came_in_and_what_went_out(road: Road, make_submission: Make):
    entry = Suppression("main", "x@one.test", "no", "manual", NOW, None)
    await road.database.suppressions.add([entry])
    stored = await road.database.bodies.put(RAW + b"x" * 5000, NOW + 60)
    plain = make_submission("a@one.test", "b@two.test", "x@one.test")
    large = make_submission("c@one.test", body=stored)
    none = make_submission("d@one.test", keep_content=False)
    for submission in (plain, large, none):
        await road.submit(submission)
    sent = {message.id: (message, raw) for message, raw in await road.outbound(4)}
    archive = road.database.archive

    async def is_archived() -> bool:
        return None not in [await archive.expiry("main", one.id) for one in (plain, large)]

    await until(is_archived)
    assert await archive.submitted("main", plain.id, NOW) == RAW
    assert await archive.submitted("main", large.id, NOW) == RAW + b"x" * 5000
    for recipient in plain.recipients[:2]:
        found = await archive.sent("main", plain.id, recipient.id, NOW)
        assert found == sent[recipient.id][1]
    message, head = sent[large.recipients[0].id]
    assert message.body is not None
    body = await road.database.bodies.get(message.body)
    for patch in reversed(message.patches):
        body = body[: patch.at] + patch.data + body[patch.at :]
    assert await archive.sent("main", large.id, message.id, NOW) == head + body[message.skip :]
    for missing in (plain.recipients[2].id, none.recipients[0].id):
        with pytest.raises(NotKept):
            await archive.sent("main", plain.id, missing, NOW)
    assert await road.database.bodies.purge(NOW + 3600) == 0, "stored bodies live as long"


async def test_of_a_test_all_is_done_but_nothing_is_sent_and_nobody_is_told(
    road: Road, make_submission: Make
):
    await road.database.suppressions.add(
        [Suppression("main", "gone@one.test", "no", "hard", NOW, None)]
    )
    test = make_submission("a@one.test", "b@two.test", "gone@one.test", test=True)
    large = make_submission("c@one.test", test=True)
    await road.submit(test)
    await road.submit(large, RAW + b"x" * 20_000)
    real = make_submission("d@one.test")
    await road.submit(real)
    ((sent, _),) = await road.outbound(1)
    assert sent.id == real.recipients[0].id
    told = await road.told(2 * 2 + 1 + 2 + 1)
    of = {
        one.id: [e.event for e in sorted(told, key=lambda e: e.time) if e.message == one.id]
        for one in (*test.recipients, *large.recipients)
    }
    ends = [EventName.TRANSFORMED, EventName.TESTED]
    assert list(of.values()) == [ends, ends, [EventName.SUPPRESSED], ends]
    assert all(event.facts["test"] for event in told if event.message in of)
    assert await road.depth(topology.FAILURES.name) == 0
    archive, (first, *_) = road.database.archive, test.recipients

    async def is_archived() -> bool:
        return await archive.expiry("main", test.id) is not None

    await until(is_archived)
    assert b"<p" in await archive.sent("main", test.id, first.id, NOW)


async def test_everything_on_gives_each_recipient_its_own_message(
    road: Road, make_submission: Make
):
    submission = make_submission("a@one.test", "b@one.test", "c@two.test", tags=("x",))
    await road.submit(submission)
    sent = await road.outbound(3)
    assert [m.id for m, _ in sent] == sorted(r.id for r in submission.recipients)
    seen = set()
    for message, raw in sent:
        assert message.mail_from == BOUNCES.address(message.id)
        assert message.envelope == submission.envelope
        assert message.bouncetracking
        assert message.size == len(raw)
        assert b"secret@d.test" not in raw
        assert b'<p style="color: red">' in raw
        path = re.search(re.escape(BASE.encode()) + rb"(/c[\w/-]+)", raw)
        assert path is not None
        token = LINKS.read_path(path[1].decode())
        assert token is not None
        assert (token.message_id, token.target) == (message.id, b"http://a.test/x")
        seen.add(path[1])
    assert len(seen) == 3
    told = await road.told(3)
    assert {event.event for event in told} == {EventName.TRANSFORMED}
    assert {event.facts["recipient"] for event in told} == {
        "a@one.test",
        "b@one.test",
        "c@two.test",
    }
    assert told[0].facts["changes"]["links"] == {"tracked": 1}
    assert told[0].facts["changes"]["css"] == "inlined"
    assert await road.depth(topology.ACCEPTED.name) == 0


async def test_everything_off_gives_one_message_per_destination(road: Road, make_submission: Make):
    addresses = [f"r{i}@one.test" for i in range(120)] + ["x@two.test"]
    await road.submit(make_submission(*addresses, features=PLAIN))
    sent = await road.outbound(3)
    assert sorted(len(m.recipients) for m, _ in sent) == [1, 20, 100]
    assert len({raw for _, raw in sent}) == 1
    body = sent[0][1].partition(b"\r\n\r\n")[2]
    assert body == RAW.partition(b"\r\n\r\n")[2]
    assert {m.mail_from for m, _ in sent} == {"sender@example.com"}
    assert len(await road.told(121)) == 121


async def test_only_bounce_tracking_shares_the_content_but_not_the_envelope(
    road: Road, make_submission: Make
):
    await road.submit(
        make_submission("a@d.test", "b@d.test", features=Features(bouncetracking=True))
    )
    (first, raw), (second, same) = await road.outbound(2)
    assert raw == same
    assert first.mail_from != second.mail_from


async def test_the_null_sender_keeps_its_null_envelope(road: Road, make_submission: Make):
    await road.submit(make_submission(envelope=""))
    ((message, _),) = await road.outbound(1)
    assert (message.mail_from, message.bouncetracking) == ("", False)


async def test_suppressed_recipients_get_nothing_but_an_event(
    road: Road, database: Database, make_submission: Make
):
    await database.suppressions.add(
        [Suppression("main", "gone@d.test", "unknown user", "hard", 1.0, None)]
    )
    await road.submit(make_submission("Gone@d.test", "here@d.test"))
    await road.submit(make_submission("gone@D.test"))
    ((message, _),) = await road.outbound(1)
    assert message.recipients[0].address == "here@d.test"
    told = await road.told(3)
    assert sorted(event.event for event in told) == ["suppressed", "suppressed", "transformed"]
    suppressed = next(event for event in told if event.event == EventName.SUPPRESSED)
    assert suppressed.facts["reason"] == "unknown user"


async def test_suppressed_recipients_are_failures_for_the_bounce_processor(
    road: Road, database: Database, make_submission: Make
):
    await database.suppressions.add(
        [
            Suppression("main", "gone@d.test", "unknown user", "hard", 1.0, None),
            Suppression("main", "dead@e.test", "unknown user", "hard", 1.0, None),
            Suppression("main", "no@d.test", "list", "unsubscribe", 1.0, None),
        ]
    )
    stored = await road.database.bodies.put(RAW + b"x" * 5000, NOW + 60)
    inline = make_submission(
        "Gone@d.test", "here@d.test", "no@d.test", "dead@e.test", ret="full", envid="E1"
    )
    large = make_submission("gone@d.test", features=PLAIN, body=stored, ret="full")
    nobody = make_submission("gone@d.test", envelope="")
    for submission in (inline, large, nobody):
        await road.submit(submission)
    found = [
        (decode(DeliveryFailure, frame)[0], bytes(decode(DeliveryFailure, frame)[1]))
        for frame in await road.taken([topology.FAILURES.name], 3)
    ]
    hard, unsubscribed, other = sorted(
        found,
        key=lambda pair: (
            pair[0].outbound.submission != inline.id,
            "unsubscribed" in pair[0].reply,
        ),
    )
    failure, quoted = hard
    assert (failure.outcome, failure.stage, failure.enhanced) == ("failed", SUPPRESSION, "5.7.1")
    assert [each.address for each in failure.outbound.recipients] == ["Gone@d.test", "dead@e.test"]
    assert failure.outbound.envid == "E1"
    assert b"Subject: Hi" in quoted
    assert b"Hello" in quoted
    assert b"Bcc" not in quoted
    assert [each.address for each in unsubscribed[0].outbound.recipients] == ["no@d.test"]
    assert other[0].outbound.body == stored
    body = await road.database.bodies.get(stored)
    assert b"Subject: Hi" in other[1]
    assert body[other[0].outbound.skip :].startswith(b"<style>")
    await road.told(6)
    assert await road.depth(topology.FAILURES.name) == 0


async def test_who_unsubscribed_from_a_list_gets_no_more_of_it_and_all_other_mail(
    road: Road, database: Database, make_submission: Make
):
    for list_name in ("news", "shop@example.com"):
        entry = Suppression("main", "sub@one.test", "no", "unsubscribe", NOW, None, list=list_name)
        await database.suppressions.add([entry])
    sender = {"sender": "shop@example.com"}
    mails = {
        "of the list": {"list": "news", **sender},
        "of another list": {"list": "offers", **sender},
        "of its sender, with a link": {"list_unsubscribe": True, **sender},
        "of its sender, with a field of its own": sender,
        "a receipt": {"list_unsubscribe": False, **sender},
        "of another sender": {"list_unsubscribe": True, "sender": "news@example.com"},
    }
    names = {}
    for name, fields in mails.items():
        submission = make_submission("sub@one.test", **fields)
        names[submission.id] = name
        own = b"List-Unsubscribe: <https://shop.test/u>\r\n" if "own" in name else b""
        await road.submit(submission, own + RAW)
    sent = {names[message.submission] for message, _ in await road.outbound(3)}
    assert sent == {"of another list", "a receipt", "of another sender"}


async def test_a_domain_with_a_key_signs_also_for_its_subdomains(
    road: Road, database: Database, make_submission: Make
):
    private = generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    keys = [
        DkimKey("s1", "rsa", "", 0.0, pem),
        DkimKey("s2", "rsa", "", 0.0, "broken"),
        DkimKey("s3", "rsa", "", 0.0, pem, state="pending"),
        DkimKey("s4", "rsa", "", 0.0, pem, state="retired"),
    ]
    await database.domains.create("main", "example.com", "v", keys)
    await road.submit(make_submission())
    ((_, raw),) = await road.outbound(1)
    assert raw.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com;")
    assert raw.count(b"DKIM-Signature") == 1
    (event,) = await road.told(1)
    assert event.facts["changes"]["dkim"] == ["s1._domainkey.example.com"]


def assembled(message: OutboundMessage, frame: bytes, stored: bytes) -> bytes:
    """Return the message as the sender puts it together."""
    body = stored[message.skip :]
    for patch in reversed(message.patches):
        at = patch.at - message.skip
        body = body[:at] + patch.data + body[at:]
    return frame + body


async def test_a_large_unchanged_body_is_the_file_of_the_ingress(
    road: Road, database: Database, make_submission: Make
):
    raw = RAW + b"x" * 70 + b"\r\n" + base64.encodebytes(bytes(300_000)).replace(b"\n", b"\r\n")
    body = await database.bodies.put(raw, 1.79e9)
    await road.submit(make_submission(features=PLAIN, body=body, size=len(raw)))
    ((message, frame),) = await road.outbound(1)
    assert message.body == body
    whole = assembled(message, frame, await database.bodies.get(message.body))
    assert whole.endswith(raw.partition(b"\r\n\r\n")[2])
    assert b"secret" not in whole
    assert message.size == len(whole)


async def test_a_large_changed_body_is_stored_once_with_patches_per_recipient(
    road: Road, database: Database, make_submission: Make
):
    attachment = base64.encodebytes(bytes(300_000)).replace(b"\n", b"\r\n")
    head, _, html = RAW.partition(b"\r\n\r\n")
    raw = (
        head.replace(b"text/html; charset=utf-8", b"multipart/mixed; boundary=xx")
        + b"\r\n\r\n--xx\r\nContent-Type: text/html\r\n\r\n" + html
        + b"--xx\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + attachment + b"--xx--\r\n"
    )  # fmt: skip
    body = await database.bodies.put(raw, 1.79e9)
    await road.submit(make_submission("a@d.test", "b@d.test", body=body, size=len(raw)))
    sent = await road.outbound(2)
    files = {message.body.file for message, _ in sent if message.body}
    assert len(files) == 1
    assert body.file not in files
    for message, frame in sent:
        assert message.body is not None
        assert len(frame) < 3000
        whole = assembled(message, frame, await database.bodies.get(message.body))
        assert message.size == len(whole)
        assert attachment in whole
        path = re.search(re.escape(BASE.encode()) + rb"(/c[\w/-]+)", whole)
        assert path is not None
        token = LINKS.read_path(path[1].decode())
        assert token is not None
        assert token.message_id == message.id


@pytest.mark.parametrize("road", [262_144], indirect=True, ids=["limit of 256 KiB"])
async def test_a_file_goes_inline_to_few_and_is_stored_once_for_many(
    road: Road, make_submission: Make
):
    raw = RAW + b"x" * 70 + b"\r\n" + base64.encodebytes(bytes(110_000)).replace(b"\n", b"\r\n")
    await road.submit(make_submission("a@d.test", "b@d.test", size=len(raw)), raw)
    for message, frame in await road.outbound(2):
        assert message.body is None
        assert len(frame) > 140_000
    many = [f"r{number}@d.test" for number in range(COPIES // len(raw) + 1)]
    await road.submit(make_submission(*many, size=len(raw)), raw)
    sent = await road.outbound(len(many))
    files = {message.body.file for message, _ in sent if message.body}
    assert len(files) == 1
    assert all(len(frame) < 3000 for _, frame in sent)


async def test_a_message_that_cannot_be_changed_is_delivered_as_it_came(
    road: Road, make_submission: Make
):
    raw = b"Content-Type: multipart/mixed\r\n\r\nbroken <a href='http://a.test'>\r\n"
    await road.submit(make_submission(), raw)
    ((_, out),) = await road.outbound(1)
    assert out.endswith(raw.partition(b"\r\n\r\n")[2])
    (event,) = await road.told(1)
    assert "boundary" in event.facts["changes"]["mime"][0]


async def test_what_is_no_submission_is_set_aside_and_the_rest_goes_on(
    road: Road, make_submission: Make
):
    await road.publisher.publish("", topology.ACCEPTED.name, b"nonsense")
    await road.submit(make_submission())
    await road.outbound(1)
    dead = topology.ACCEPTED.dead
    assert dead is not None
    assert await road.taken([dead], 1) == [b"nonsense"]


async def test_delayed_mail_carries_the_time_before_which_it_must_not_leave(
    road: Road, make_submission: Make
):
    await road.submit(make_submission(send_at=2e9))
    ((message, _),) = await road.outbound(1)
    assert (message.not_before, message.send_at, message.began) == (2e9, 2e9, 2e9)


async def test_without_the_database_small_mail_flows_and_large_mail_waits(
    amqp_url: str, mongodb_uri: str, make_submission: Make
):
    line, uri = Forwarder.to(mongodb_uri, 27017)
    await line.open()
    database = Database(_direct(uri), patience=1.0)
    road = Road(amqp_url, database)
    await road.start()
    try:
        await until(lambda: _is_done(road.snapshot.reload))
        await line.close()
        lost = {"file": "0" * 24, "size": 9}
        waiting = make_submission(body=lost)
        await road.submit(waiting)
        small = make_submission()
        await road.submit(small)
        ((message, _),) = await road.outbound(1)
        assert message.submission == small.id
        assert len(await road.told(1)) == 1
    finally:
        await road.stop()
        await database.close()
    assert await road.depth(topology.ACCEPTED.name) == 1


async def test_mail_that_may_be_suppressed_waits_until_the_database_is_back(
    amqp_url: str, mongodb_uri: str, make_submission: Make
):
    line, uri = Forwarder.to(mongodb_uri, 27017)
    await line.open()
    database = Database(_direct(uri), patience=1.0)
    road = Road(amqp_url, database)
    await road.start()
    try:
        unwilling = make_submission(recipients=(Recipient(id=new_id(), address="No@x.test"),))
        entry = Suppression(unwilling.account, "no@x.test", "asked", "unsubscribe", 1.0, None)
        await until(lambda: _is_done(partial(database.suppressions.add, [entry])))
        await until(lambda: _is_done(road.snapshot.reload))
        await line.close()
        await road.submit(unwilling)
        willing = make_submission()
        await road.submit(willing)
        ((message, _),) = await road.outbound(1)
        assert message.submission == willing.id
        await road.told(1)
        await line.open()
        (event,) = await road.told(1)
        assert event.event is EventName.SUPPRESSED
        assert event.message == unwilling.recipients[0].id
    finally:
        await road.stop()
        await database.close()
        await line.close()


def _direct(uri: str) -> str:
    """Return `uri` so that the client asks no member of the replica set for the others."""
    return re.sub(r"replicaSet=\w+", "directConnection=true", uri)


async def _is_done(act: Callable[[], Awaitable[None]]) -> bool:
    try:
        await act()
    except StoreAway:
        return False
    return True


class Line:
    """A TCP line to the broker that breaks by itself after `budget` octets towards it, once."""

    def __init__(self, target: tuple[str, int], budget: int) -> None:
        self.target = target
        self.budget = budget
        self.breaks = 0

    async def open(self) -> int:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self.target)
        answers = asyncio.create_task(self.pump(there, writer))
        while chunk := await reader.read(4096):
            self.budget -= len(chunk)
            if self.budget < 0 and not self.breaks:
                self.breaks += 1
                break
            back.write(chunk)
            await back.drain()
        answers.cancel()
        back.close()
        writer.close()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)


async def test_when_the_broker_breaks_off_the_rest_follows_and_little_comes_twice(
    amqp_url: str, database: Database, make_submission: Make
):
    url = URL(amqp_url)
    line = Line((url.host or "", url.port or 0), budget=150_000)
    road = Road(str(url.with_host("127.0.0.1").with_port(await line.open())), database)
    road.incoming = BrokerLink(amqp_url, "test consume")
    road.consumer = Consumer(road.incoming, road.publisher, topology.ACCEPTED)
    road.url = amqp_url
    await road.start()
    try:
        submission = make_submission(*(f"r{i}@d{i % 7}.test" for i in range(300)))
        await road.submit(submission)
        assert len(await road.told(300)) == 300
        sent = await road.outbound(300)
    finally:
        await road.stop()
        line.server.close()
    assert line.breaks == 1
    assert {message.id for message, _ in sent} == {each.id for each in submission.recipients}
    assert len(sent) <= 300 + GROUPS_AT_ONCE
    assert await road.depth(topology.ACCEPTED.name) == 0


async def test_a_verified_domain_tracks_by_way_of_its_own_host(road: Road, make_submission: Make):
    domains = road.database.domains
    made = await domains.create("main", "example.com", "proof", [])
    assert made is not None
    await domains.set_hosts("main", "example.com", {"tracking_host": "links.example.com"})
    await domains.create("other", "news.example.com", "proof", [])
    await domains.set_hosts("other", "news.example.com", {"tracking_host": "no.example.com"})
    await domains.set_checks(made, {}, verified=True, keys=(), due=0.0)
    features = Features(clicktracking=True)
    await road.submit(make_submission(features=features))
    await road.submit(make_submission(features=features, account="other"))
    found = {message.account: body for message, body in await road.outbound(2)}
    for account, base in (("main", b"https://links.example.com/"), ("other", BASE.encode())):
        (url,) = re.findall(rb'href="(https?://[^"]+)"', found[account])
        assert url.startswith(base)
        token = LINKS.read_path(URL(url.decode()).path)
        assert token is not None
        assert token.target == b"http://a.test/x"


async def test_bounces_come_back_to_the_domains_own_host_once_its_record_was_seen(
    road: Road, make_submission: Make
):
    domains = road.database.domains
    for account, status in (("main", "ok"), ("other", "missing")):
        made = await domains.create(account, f"{account}.example.com", "proof", [])
        assert made is not None
        checks = {RETURN_PATH: status}
        await domains.set_checks(made, checks, verified=True, keys=(), due=0.0)
        await road.submit(
            make_submission(account=account, features=Features(bouncetracking=True)),
            f"From: shop@{account}.example.com\r\n\r\nhello\r\n".encode(),
        )
    found = {message.account: message for message, _ in await road.outbound(2)}
    assert found["main"].mail_from.endswith("@bounces.main.example.com")
    assert found["other"].mail_from.endswith(f"@{BOUNCES.domain}")
    for message in found.values():
        assert BOUNCES.verify(message.mail_from, id_time(message.id)).message_id == message.id


PICTURE = b"\x89PNG\r\n\x1a\n picture"
WITH_PICTURE = (
    b"From: shop@example.com\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
    b"<img src='cid:p'>\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <p>\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(PICTURE) + b"\r\n--b--\r\n"
)


async def test_a_hosted_image_is_stored_before_its_mail_goes_out(road: Road, make_submission: Make):
    await road.submit(make_submission(features=PLAIN, images_hosted=True), WITH_PICTURE)
    ((_, body),) = await road.outbound(1)
    (path,) = re.findall(rb"src='https://track.example.com(/[^']+)'", body)
    token = LINKS.read_path(path.decode())
    assert token is not None
    assert token.target is not None
    image = await road.database.images.get(token.target)
    assert image is not None
    assert (image.media_type, image.data) == ("image/png", PICTURE)
    assert b"image/png" not in body


async def test_images_stay_in_the_mail_while_the_store_is_away(road: Road, make_submission: Make):
    away = Database("mongodb://127.0.0.1:1/none", patience=0.3)
    images = ImageStore(away.images)
    road.transformer._templates = TemplateMaker(RULES, images, road.workers)
    await road.submit(make_submission(features=PLAIN, images_hosted=True), WITH_PICTURE)
    ((_, body),) = await road.outbound(1)
    assert body.endswith(WITH_PICTURE.partition(b"\r\n\r\n")[2])
    (event,) = await road.told(1)
    assert event.facts["changes"]["hosting"] == "left embedded: the images could not be stored"
    await away.close()


# Every selector matches every element, which the engine takes quadratic time for: many seconds.
SLOW = RAW.partition(b"\r\n\r\n")[0] + (
    b"\r\n\r\n<style>" + b"p{a:b}" * 1_500 + b"</style>" + b"<p>x</p>" * 1_500
)
# As many tracked links and images as a mail may have, made anew for each recipient.
MANY = RAW.partition(b"\r\n\r\n")[0] + (
    b"\r\n\r\n" + b"<a href=http://a.test/x>x</a><img src=http://a.test/y>" * 2_000
)


async def test_heavy_mail_is_overtaken_and_goes_out_as_it_came(road: Road, make_submission: Make):
    heavy = make_submission("a@one.test", credential="bad")
    light = make_submission("b@one.test")
    await road.consumer.pause(RequeueReason.PAUSED)  # so that both come together
    await road.submit(heavy, SLOW)
    await road.submit(light)
    await road.consumer.resume()
    shards = [queue.name for queue in topology.SHARD_QUEUES]
    first, last = [decode(OutboundMessage, frame) for frame in await road.taken(shards, 2)]
    # both are for one shard, whose queue keeps the order
    assert [first[0].submission, last[0].submission] == [light.id, heavy.id]
    message, raw = last
    assert message.body is not None
    whole = assembled(message, bytes(raw), await road.database.bodies.get(message.body))
    assert whole.endswith(SLOW.partition(b"\r\n\r\n")[2])
    changes = [event.facts["changes"] for event in await road.told(2)]
    reasons = [reason for change in changes for reason in change.get("mime", ())]
    assert reasons == ["HTML left as it is: it takes more than 1.5 s of a processor"]
    assert await road.depth(topology.ACCEPTED.name) == 0


async def test_what_came_back_again_and_again_is_worked_on_in_another_process(
    road: Road, make_submission: Make
):
    await road.consumer.pause(RequeueReason.PAUSED)
    await road.submit(make_submission())
    connection = await aio_pika.connect(road.url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(topology.ACCEPTED.name)
        for _ in range(REDELIVERIES):
            message = await queue.get(timeout=30)
            assert message is not None
            await message.nack(requeue=True)
    assert not road.workers.processes.idle
    await road.consumer.resume()
    ((_, raw),) = await road.outbound(1)
    assert b'<p style="color: red">' in raw
    assert road.workers.processes.idle


@timed(1.0)
async def test_hostile_mail_of_one_login_does_not_delay_anothers(
    limit: float | None, road: Road, make_submission: Make
):
    readers, mails = (64, 5) if limit else (2, 1)
    bad = [make_submission(credential="bad") for _ in range(mails)]
    crowds = [
        make_submission(*[f"r{n}@d{n}.test" for n in range(readers)], credential=f"bad{number}")
        for number in range(mails)
    ]
    for submission in bad:
        await road.submit(submission, SLOW)
    for submission in crowds:
        await road.submit(submission, MANY)
    good = [make_submission(credential="good") for _ in range(20)]
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    all_seen = asyncio.Event()

    async def take(message: AbstractIncomingMessage) -> None:
        seen.setdefault(decode(OutboundMessage, message.body)[0].submission, time.monotonic())
        if all(submission.id in seen for submission in (*good, *crowds, *bad)):
            all_seen.set()

    connection = await aio_pika.connect(road.url)
    async with connection, asyncio.timeout(90):
        channel = await connection.channel()
        for shard in topology.SHARD_QUEUES:
            await (await channel.get_queue(shard.name)).consume(take, no_ack=True)
        for submission in good:
            sent[submission.id] = time.monotonic()
            await road.submit(submission)
            await until(lambda submission=submission: submission.id in seen, seconds=60)
        await all_seen.wait()
    latencies = [seen[key] - sent[key] for key in sent]
    if limit is not None:
        assert max(latencies) < limit
