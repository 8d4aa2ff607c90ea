"""The handler and what is large: bodies and images in the store, inline, or waiting for it."""

import base64
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from postroad_common.broker import topology
from postroad_common.schemas.features import Features
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import Submission
from postroad_common.store.database import Database
from postroad_testing.forwarder import Forwarder
from postroad_testing.outages import direct, is_done
from postroad_testing.waiting import until
from postroad_transformer.lookups.images import ImageStore
from postroad_transformer.publishing import COPIES
from postroad_transformer.templates import TemplateMaker

if TYPE_CHECKING:
    from conftest import Road  # the service's own, beside this file

BASE = "https://track.example.com"
PLAIN = Features()
Make = Callable[..., Submission]


def assembled(message: OutboundMessage, frame: bytes, stored: bytes) -> bytes:
    """Return the message as the sender puts it together."""
    body = stored[message.skip :]
    for patch in reversed(message.patches):
        at = patch.at - message.skip
        body = body[:at] + patch.data + body[at:]
    return frame + body


async def test_a_large_unchanged_body_is_the_file_of_the_ingress(
    road: "Road", database: Database, make_submission: Make
):
    raw = (
        road.raw + b"x" * 70 + b"\r\n" + base64.encodebytes(bytes(300_000)).replace(b"\n", b"\r\n")
    )
    body = await database.bodies.put(raw, 1.79e9)
    await road.submit(make_submission(features=PLAIN, body=body, size=len(raw)))
    ((message, frame),) = await road.outbound(1)
    assert message.body == body
    whole = assembled(message, frame, await database.bodies.get(message.body))
    assert whole.endswith(raw.partition(b"\r\n\r\n")[2])
    assert b"secret" not in whole
    assert message.size == len(whole)


async def test_a_large_changed_body_is_stored_once_with_patches_per_recipient(
    road: "Road", database: Database, make_submission: Make
):
    attachment = base64.encodebytes(bytes(300_000)).replace(b"\n", b"\r\n")
    head, _, html = road.raw.partition(b"\r\n\r\n")
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
        token = road.links.read_path(path[1].decode())
        assert token is not None
        assert token.message_id == message.id


@pytest.mark.parametrize("road", [262_144], indirect=True, ids=["limit of 256 KiB"])
async def test_a_file_goes_inline_to_few_and_is_stored_once_for_many(
    road: "Road", make_submission: Make
):
    raw = (
        road.raw + b"x" * 70 + b"\r\n" + base64.encodebytes(bytes(110_000)).replace(b"\n", b"\r\n")
    )
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


async def test_without_the_database_small_mail_flows_and_large_mail_waits(
    make_road: type["Road"], amqp_url: str, mongodb_uri: str, make_submission: Make
):
    line, uri = Forwarder.to(mongodb_uri, 27017)
    await line.open()
    database = Database(direct(uri), patience=1.0)
    road = make_road(amqp_url, database)
    await road.start()
    try:
        await until(lambda: is_done(road.snapshot.reload))
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


PICTURE = b"\x89PNG\r\n\x1a\n picture"
WITH_PICTURE = (
    b"From: shop@example.com\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
    b"<img src='cid:p'>\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <p>\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(PICTURE) + b"\r\n--b--\r\n"
)


async def test_a_hosted_image_is_stored_before_its_mail_goes_out(
    road: "Road", make_submission: Make
):
    await road.submit(make_submission(features=PLAIN, images_hosted=True), WITH_PICTURE)
    ((_, body),) = await road.outbound(1)
    (path,) = re.findall(rb"src='https://track.example.com(/[^']+)'", body)
    token = road.links.read_path(path.decode())
    assert token is not None
    assert token.target is not None
    image = await road.database.images.get(token.target)
    assert image is not None
    assert (image.media_type, image.data) == ("image/png", PICTURE)
    assert b"image/png" not in body


async def test_images_stay_in_the_mail_while_the_store_is_away(road: "Road", make_submission: Make):
    away = Database("mongodb://127.0.0.1:1/none", patience=0.3)
    images = ImageStore(away.images)
    road.transformer._templates = TemplateMaker(road.rules, images, road.workers)
    await road.submit(make_submission(features=PLAIN, images_hosted=True), WITH_PICTURE)
    ((_, body),) = await road.outbound(1)
    assert body.endswith(WITH_PICTURE.partition(b"\r\n\r\n")[2])
    (event,) = await road.told(1)
    assert event.facts["changes"]["hosting"] == "left embedded: the images could not be stored"
    await away.close()
