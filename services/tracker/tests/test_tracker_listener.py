"""The tracker's HTTP side over real sockets, with the spool in place of the broker."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.boundedhttp import MAX_REQUEST
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, EventName
from postroad_common.store.database import Database
from postroad_common.tokens import Keyring, LinkSigner
from postroad_tracker import pages
from postroad_tracker.burst_detector import BurstDetector
from postroad_tracker.client_address import ClientAddresses
from postroad_tracker.forwarder import events_of
from postroad_tracker.handler import Handler, is_safe
from postroad_tracker.image_cache import ImageCache
from postroad_tracker.listener import TrackerListener
from postroad_tracker.recorder import Recorder
from postroad_tracker.spool import Spool

SIGNER = LinkSigner(Keyring(["a secret for tests"]), "http://track.example")
AWAY = Database("mongodb://127.0.0.1:1/none")  # nobody listens there
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


@dataclass
class Tracker:
    client: httpx.AsyncClient
    spool: Spool
    port: int

    def events(self) -> list[Event]:
        self.spool.seal()
        events: list[Event] = []
        while (segment := self.spool.oldest()) is not None:
            events += events_of(segment.read())
            self.spool.remove(segment)
        return events


@contextlib.asynccontextmanager
async def running(
    spool: Spool, burst_detector: BurstDetector, prefix: str = ""
) -> AsyncIterator[Tracker]:
    client_addresses = ClientAddresses([ipaddress.ip_network("127.0.0.0/8")])
    recorder = Recorder(spool, burst_detector, lambda: None)
    listener = TrackerListener(
        Handler(SIGNER, recorder, client_addresses, ImageCache(AWAY.images), prefix),
        "127.0.0.1",
        0,
        reuse_port=True,
    )
    await listener.start()
    base = f"http://127.0.0.1:{listener.port}"
    async with httpx.AsyncClient(
        base_url=base, headers={"User-Agent": BROWSER}, trust_env=False, timeout=90
    ) as client:
        yield Tracker(client, spool, listener.port)
    await listener.stop()


@pytest.fixture
async def tracker(tmp_path: Path) -> AsyncIterator[Tracker]:
    spool = Spool(tmp_path, 10_000_000)
    spool.open()
    async with running(spool, BurstDetector()) as tracker:
        yield tracker


def path(url: str) -> str:
    return url.removeprefix("http://track.example")


async def raw(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 90)
    writer.close()
    return answer


TARGETS = [
    b"https://example.com/",
    b"http://example.com/a%20b?x=1&y=%C3%A9#frag",
    b"HTTPS://Example.COM/MiXeD",
    "https://example.com/\u00e9?q=\u65e5\u672c".encode(),
    b"https://user:pw@example.com:8443/;p=1?a=b&amp;c",
    b"https://example.com/" + b"x" * 6000,
    b'https://example.com/"quotes" and spaces<>',
]


@pytest.mark.parametrize("target", TARGETS)
async def test_click_redirects_to_the_exact_octets(tracker: Tracker, target: bytes):
    message = new_id()
    request = f"GET {path(SIGNER.click(message, 4, target))} HTTP/1.1\r\nHost: t\r\n"
    answer = await raw(tracker.port, request.encode() + b"Connection: close\r\n\r\n")
    head = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"HTTP/1.1 302 Found"
    assert b"location: " + target in head
    assert any(line.startswith(b"cache-control: no-store") for line in head)
    (event,) = tracker.events()
    assert event.event is EventName.CLICKED
    assert event.message == message
    assert event.facts["link"] == 4
    assert event.facts["url"] == target.decode()[:2048]


async def test_click_is_recorded_with_who_when_and_from_where(tracker: Tracker):
    answer = await tracker.client.get(
        path(SIGNER.click(new_id(), 0, b"https://example.com")),
        headers={"Referer": "https://mail.example/inbox", "X-Forwarded-For": "203.0.113.5"},
    )
    assert answer.status_code == 302
    (event,) = tracker.events()
    assert event.facts == {
        "ip": "203.0.113.5",
        "machine": False,
        "url": "https://example.com",
        "link": 0,
        "user_agent": BROWSER,
        "referer": "https://mail.example/inbox",
    }


async def test_open_returns_an_uncached_pixel(tracker: Tracker):
    answer = await tracker.client.get(path(SIGNER.open(new_id())))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/gif"
    assert answer.content == pages.PIXEL
    assert len(answer.content) == 43
    assert "no-store" in answer.headers["cache-control"]
    (event,) = tracker.events()
    assert event.event is EventName.OPENED


async def test_image_is_an_open_that_leads_to_the_image(tracker: Tracker):
    answer = await tracker.client.get(
        path(SIGNER.image(new_id(), 2, b"https://example.com/logo.png"))
    )
    assert answer.status_code == 302
    assert answer.headers["location"] == "https://example.com/logo.png"
    (event,) = tracker.events()
    assert event.event is EventName.OPENED
    assert event.facts["url"] == "https://example.com/logo.png"


async def test_head_is_answered_like_get_and_not_counted(tracker: Tracker):
    url = path(SIGNER.click(new_id(), 0, b"https://example.com/x"))
    answer = await tracker.client.head(url)
    assert answer.status_code == 302
    assert answer.headers["location"] == "https://example.com/x"
    pixel = await tracker.client.head(path(SIGNER.open(new_id())))
    assert pixel.status_code == 200
    assert pixel.content == b""
    assert tracker.events() == []


async def test_get_after_head_is_labelled(tracker: Tracker):
    url = path(SIGNER.click(new_id(), 0, b"https://example.com/x"))
    await tracker.client.head(url)
    await tracker.client.get(url)
    (event,) = tracker.events()
    assert event.facts["machine"] is True
    assert event.facts["reason"] == "head-before-get"


async def test_following_all_links_at_once_labels_all_clicks(tracker: Tracker):
    message = new_id()
    for number in range(5):
        await tracker.client.get(path(SIGNER.click(message, number, b"https://example.com/")))
    events = tracker.events()
    assert len(events) == 5
    assert {event.facts["reason"] for event in events} == {"links-within-a-second"}


async def test_an_image_proxy_is_labelled(tracker: Tracker):
    await tracker.client.get(
        path(SIGNER.open(new_id())),
        headers={"User-Agent": "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"},
    )
    (event,) = tracker.events()
    assert event.facts["machine"] is True
    assert event.facts["reason"] == "image-proxy"


async def test_every_tampered_path_is_not_found(tracker: Tracker):
    url = path(SIGNER.click(new_id(), 1, b"https://example.com/abc"))
    changed = {
        url[:position] + other + url[position + 1 :]
        for position in range(1, len(url))
        for other in ("A", "b", "_")
        if url[position] != other
    }
    changed |= {url + "A", url[:-1], url + "/", "/", "/c", "//evil.example", url.upper()}
    for candidate in changed:
        answer = await raw(
            tracker.port,
            f"GET {candidate} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode(),
        )
        assert answer.startswith(b"HTTP/1.1 404"), candidate
        assert b"location" not in answer.lower()
    assert tracker.events() == []


async def test_a_link_signed_for_one_purpose_does_not_serve_another(tracker: Tracker):
    url = path(SIGNER.image(new_id(), 1, b"https://example.com/abc"))
    assert (await tracker.client.get("/c" + url[2:])).status_code == 404


@pytest.mark.parametrize(
    "target",
    [
        b"javascript:alert(1)",
        b"ftp://example.com/",
        b"https://example.com/\r\nSet-Cookie: a=b",
        b"//example.com",
        b"https://example.com/\x00",
    ],
)
async def test_signed_targets_that_are_no_web_urls_are_not_followed(
    tracker: Tracker, target: bytes
):
    answer = await tracker.client.get(path(SIGNER.click(new_id(), 0, target)))
    assert answer.status_code == 404
    assert tracker.events() == []


@given(st.binary(max_size=200))
def test_no_target_that_is_followed_can_break_the_header(rest: bytes):
    token = SIGNER.read_path(path(SIGNER.click("0" * 21, 0, b"https://" + rest)))
    assert token is not None
    if is_safe(token):
        assert not set(rest) & {0x00, 0x0A, 0x0D}


async def test_robots_are_asked_to_stay_away(tracker: Tracker):
    answer = await tracker.client.get("/robots.txt")
    assert answer.text == "User-agent: *\nDisallow: /\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused_with_the_allowed_ones(tracker: Tracker, method: str):
    url = path(SIGNER.click(new_id(), 0, b"https://example.com/"))
    answer = await tracker.client.request(method, url)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert (await tracker.client.request(method, "/elsewhere")).status_code == 404
    assert tracker.events() == []


async def test_asking_for_the_unsubscribe_page_unsubscribes_nobody(tracker: Tracker):
    answer = await tracker.client.get(path(SIGNER.unsubscribe(new_id())))
    assert answer.status_code == 200
    assert "<form method=post>" in answer.text
    assert tracker.events() == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"),
        (
            (
                b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n'
                b"\r\nOne-Click\r\n--b--\r\n"
            ),
            "multipart/form-data; boundary=b",
        ),
        (
            (
                b"--b\r\nContent-Disposition: form-data; name=List-Unsubscribe\r\n"
                b"Content-Type: text/plain; charset=utf-8\r\n\r\nOne-Click\r\n--b--\r\n"
            ),
            "multipart/form-data; boundary=b",
        ),
        (b"list-unsubscribe=one-click\r\n" + b"&a=b" * 40, "text/plain"),
    ],
)
async def test_one_click_unsubscription(tracker: Tracker, body: bytes, content_type: str):
    message = new_id()
    answer = await tracker.client.post(
        path(SIGNER.unsubscribe(message)), content=body, headers={"Content-Type": content_type}
    )
    assert answer.status_code == 200
    (event,) = tracker.events()
    assert event.event is EventName.UNSUBSCRIBED
    assert event.message == message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"List-Unsubscribe=No",
        b"x" * 4000,
        b"&a=b" * 40,
        b"%ff%00=%zz;\xff\xfe",
        (
            b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\n'
            b'name="List-Unsubscribe" is not One-Click\r\n--b--\r\n'
        ),
        b"--" + b"\r\nname=list-unsubscribe" * 150,
    ],
)
async def test_a_post_that_does_not_say_one_click_unsubscribes_nobody(
    tracker: Tracker, body: bytes
):
    answer = await tracker.client.post(path(SIGNER.unsubscribe(new_id())), content=body)
    assert answer.status_code == 400
    assert tracker.events() == []


async def test_without_room_a_click_is_served_and_an_unsubscription_is_put_off():
    async with running(Spool(None, 10), BurstDetector()) as tracker:
        click = await tracker.client.get(path(SIGNER.click(new_id(), 0, b"https://example.com/")))
        assert click.status_code == 302
        answer = await tracker.client.post(
            path(SIGNER.unsubscribe(new_id())), content=b"List-Unsubscribe=One-Click"
        )
        assert answer.status_code == 503
        assert answer.headers["retry-after"]


async def test_a_tracking_url_with_a_path_is_served_below_it(tmp_path: Path):
    spool = Spool(tmp_path, 10_000_000)
    spool.open()
    async with running(spool, BurstDetector(), prefix="/t") as tracker:
        url = "/t" + path(SIGNER.click(new_id(), 0, b"https://example.com/"))
        assert (await tracker.client.get(url)).status_code == 302


async def test_an_endless_request_head_is_cut_off(tracker: Tracker):
    reader, writer = await asyncio.open_connection("127.0.0.1", tracker.port)
    writer.write(b"GET / HTTP/1.1\r\n")
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 50 * MAX_REQUEST and not reader.at_eof():
            writer.write(b"X-Filler: " + b"y" * 8000 + b"\r\n")
            sent += 8000
            await writer.drain()
            await asyncio.sleep(0)
    assert sent < 50 * MAX_REQUEST
    writer.close()
    assert (await tracker.client.get("/robots.txt")).status_code == 200


@given(st.binary(max_size=300))
def test_no_octets_make_a_path_without_a_signature_readable(octets: bytes):
    assert SIGNER.read_path("/" + octets.decode("latin-1")) is None
