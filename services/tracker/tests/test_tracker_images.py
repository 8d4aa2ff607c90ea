"""Hosted images: served as what they are, cached within bounds, and without the database."""

import contextlib
import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import EventName
from postroad_common.store.database import Database
from postroad_common.store.images import HostedImage
from postroad_common.tokens import Keyring, LinkKind, LinkSigner
from postroad_testing.documents import documents
from postroad_testing.waiting import PATIENCE
from postroad_tracker import pages
from postroad_tracker.burst_detector import BurstDetector
from postroad_tracker.client_address import ClientAddresses
from postroad_tracker.forwarder import events_of
from postroad_tracker.handler import Handler
from postroad_tracker.image_cache import ImageCache
from postroad_tracker.listener import TrackerListener
from postroad_tracker.recorder import Recorder
from postroad_tracker.spool import Spool

SIGNER = LinkSigner(Keyring(["a secret for tests"]), "http://track.example")
PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 100


def hosted(data: bytes, media_type: str = "image/png") -> HostedImage:
    return HostedImage(hashlib.sha256(data).digest(), media_type, data)


def path(image: HostedImage, kind: LinkKind = LinkKind.HOSTED) -> str:
    url = SIGNER.for_message(new_id()).url(kind, 3, image.digest)
    return url.removeprefix("http://track.example")


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    yield database
    await database.close()


@contextlib.asynccontextmanager
async def serving(image_cache: ImageCache, spool: Spool) -> AsyncIterator[httpx.AsyncClient]:
    recorder = Recorder(spool, BurstDetector(), lambda: None)
    handler = Handler(SIGNER, recorder, ClientAddresses([]), image_cache)
    listener = TrackerListener(handler, "127.0.0.1", 0, reuse_port=False)
    await listener.start()
    base = f"http://127.0.0.1:{listener.port}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=90) as client:
        yield client
    await listener.stop()


async def test_a_counted_image_is_served_each_time_it_is_shown_and_counted(database: Database):
    image, spool = hosted(PNG), Spool(None, 1_000_000)
    await database.images.put_many([image])
    async with serving(ImageCache(database.images), spool) as client:
        answer = await client.get(path(image))
        again = await client.get(path(image), headers={"If-None-Match": answer.headers["etag"]})
        head = await client.head(path(image))
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "private, no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(PNG)))
    spool.seal()
    segment = spool.oldest()
    assert segment is not None
    events = events_of(segment.read())
    assert [(event.event, event.facts["link"], event.facts.get("url")) for event in events] == [
        (EventName.OPENED, 3, None)
    ] * 2


async def test_an_uncounted_image_is_cached_for_long_and_leaves_no_trace(database: Database):
    image, spool = hosted(PNG), Spool(None, 1_000_000)
    await database.images.put_many([image])
    async with serving(ImageCache(database.images), spool) as client:
        answer = await client.get(path(image, LinkKind.PICTURE))
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert spool.empty


async def test_what_a_browser_might_run_is_not_served_whatever_the_store_says(database: Database):
    image = hosted(b"<svg onload='alert(1)'/>", "image/svg+xml")
    await database.images.put_many([image])
    async with serving(ImageCache(database.images), Spool(None, 1_000_000)) as client:
        answer = await client.get(path(image))
    assert (answer.status_code, answer.content) == (404, pages.PIXEL)


async def test_an_image_nobody_stored_is_a_pixel_with_404(database: Database):
    async with serving(ImageCache(database.images), Spool(None, 1_000_000)) as client:
        answer = await client.get(path(hosted(b"other")))
    assert (answer.status_code, answer.content) == (404, pages.PIXEL)
    assert "no-store" in answer.headers["cache-control"]


async def test_a_changed_digest_is_not_found_and_asks_nobody(database: Database):
    image = hosted(PNG)
    await database.images.put_many([image])
    async with serving(ImageCache(database.images), Spool(None, 1_000_000)) as client:
        signed = path(image)
        changed = signed[:-1] + ("A" if signed[-1] != "A" else "E")
        answer = await client.get(changed)
    assert (answer.status_code, answer.content) == (404, b"Not found\n")


async def test_without_the_database_known_images_are_served_and_others_are_put_off():
    away = Database("mongodb://127.0.0.1:1/none")
    image_cache, image = ImageCache(away.images), hosted(PNG)
    image_cache.keep(image)
    async with serving(image_cache, Spool(None, 1_000_000)) as client:
        known = await client.get(path(image))
        unknown = await client.get(path(hosted(b"other")))
        at_once = await client.get(path(hosted(b"third")))
    assert known.content == PNG
    for answer in (unknown, at_once):
        assert (answer.status_code, answer.content) == (503, pages.PIXEL)
        assert "no-store" in answer.headers["cache-control"]
    assert at_once.elapsed < unknown.elapsed  # nobody waits for the database again
    await away.close()


async def test_the_memory_holds_no_more_than_it_may(database: Database):
    images = [hosted(b"GIF89a" + bytes([number]) * 994, "image/gif") for number in range(10)]
    await database.images.put_many(images)
    image_cache = ImageCache(database.images, max_memory=3_000)
    for image in images:
        page = await image_cache.page(image.digest, None, counted=True)
        assert page.body == image.data
    assert image_cache.octets == 3_000
    assert list(image_cache.digests) == [image.digest for image in images[-3:]]


async def test_an_image_is_stored_once_and_lives_longer_with_each_mail(
    database: Database, mongodb_uri: str
):
    image = hosted(PNG)
    await database.images.put_many([image, hosted(b"GIF89a", "image/gif")])
    async with documents(mongodb_uri) as collections:
        stored = collections["images"]
        first = await stored.find_one({"_id": image.digest.hex()})
        await database.images.put_many([image])
        assert await stored.count_documents({}) == 2
        second = await stored.find_one({"_id": image.digest.hex()})
    assert first is not None
    assert second is not None
    assert second["at"] > first["at"]
    assert await database.images.get(image.digest) == image
