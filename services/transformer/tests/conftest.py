"""Shared by the transformer's tests: submissions, rules, keys, mails, and the running handler."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from postroad_common.broker import BrokerLink, Consumer, EventWriter, Publisher, topology
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.events import Event, EventBatch
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import Client, Submission
from postroad_common.store.database import Database
from postroad_common.tokens import Keyring, LinkSigner
from postroad_testing import factories
from postroad_testing.waiting import PATIENCE
from postroad_transformer.archive import ArchiveWriter
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.composing.rules import Rules
from postroad_transformer.handler import Dependencies, Transformer
from postroad_transformer.lookups.images import ImageStore
from postroad_transformer.lookups.signing_keys import SigningKeys
from postroad_transformer.lookups.snapshot import SuppressionSnapshot
from postroad_transformer.lookups.suppressions import SuppressionCheck
from postroad_transformer.publishing import PublishingPolicy
from postroad_transformer.signing.keys import SigningKey
from postroad_transformer.workers.pool import HtmlBounds, WorkerPool

BASE = "https://track.example.com"
NOW = 1_780_000_000.0
ALL = Features(
    inlinecss=True, clicktracking=True, openstracking=True, preventscam=True, bouncetracking=True
)


@pytest.fixture
def everything() -> Features:
    return ALL


@pytest.fixture
def links() -> LinkSigner:
    return LinkSigner(Keyring(["a secret of sufficient length"]), BASE)


@pytest.fixture
def rules() -> Rules:
    return Rules(HeaderRules("mail.example.net"), BASE)


@pytest.fixture
def make_submission() -> Callable[..., Submission]:
    def make(*addresses: str, features: Features = ALL, **values: Any) -> Submission:
        defaults: dict[str, Any] = {
            "account": "main",
            "received": NOW,
            "envelope": "sender@example.com",
            "expires": NOW + 86400,
            "client": Client(ip="192.0.2.7", helo="app.example.com", tls="TLSv1.3"),
            "size": 0,
        }
        to = addresses or ("reader@destination.test",)
        return factories.submission(*to, features=features, **(defaults | values))

    return make


@pytest.fixture(scope="session")
def rsa_key() -> SigningKey:
    return SigningKey("example.com", "r1", generate_private_key(65537, 2048))


@pytest.fixture(scope="session")
def ed25519_key() -> SigningKey:
    return SigningKey("example.com", "e1", Ed25519PrivateKey.generate())


KEYRING = Keyring(["a secret of sufficient length"])
LINKS = LinkSigner(KEYRING, BASE)
BOUNCES = BounceAddresses(KEYRING, "bounce.example.net", 1e10)
RULES = Rules(HeaderRules("mx.example.net"), BASE)
RAW = (
    b"From: Shop <shop@news.example.com>\r\nTo: r@d.test\r\nBcc: secret@d.test\r\nSubject: Hi\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b'<style>p{color:red}</style><p>Hello</p><a href="http://a.test/x">Go</a>\r\n'
)


class Road:
    """A transformer between real queues.

    `raw` is a mail with a style, a link and a Bcc, and `links` reads its links.
    """

    raw = RAW
    links = LINKS
    bounces = BOUNCES
    rules = RULES

    def __init__(
        self,
        amqp_url: str,
        database: Database,
        inline_body_max: int = 4096,
        bounds: HtmlBounds | None = None,
    ) -> None:
        self.url = amqp_url
        self.database = database
        self.outgoing = BrokerLink(amqp_url, "test publish")
        self.incoming = BrokerLink(amqp_url, "test consume")
        self.publisher = Publisher(self.outgoing)
        self.events = EventWriter(self.publisher)
        self.workers = WorkerPool(bounds)
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


@pytest.fixture
def make_road() -> type[Road]:
    """Return what makes a transformer, which the test starts and stops."""
    return Road
