"""Hosted images: embedded ones that the tracker serves, so that the mail need not carry them.

An `<img src="cid:…">` whose image is in the mail gets a signed URL of the tracking host instead,
and the image is taken out of the mail, unless something else in it still refers to it. Which kind
of image it is, its own octets tell, not its header. What a browser might run (SVG), what is too
large, what is broken and what the author has opted out of tracking stays in the mail.
"""

import binascii
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from postroad_common.store.images import MAX_IMAGE, HostedImage
from postroad_common.tokens import LinkKind, tail
from postroad_transformer.html.page import HtmlPage
from postroad_transformer.reading.mime import ImagePart
from postroad_transformer.segments import Hole
from postroad_transformer.tracking.links import MAX_NUMBER, traits_of

MAX_IMAGES = 100
"""Of one mail."""
_IMAGES = frozenset({"<img"})
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class Hosting(NamedTuple):
    """Where the images of one mail are to be found: digests by Content-ID.

    With `counted`, fetching one is an opening.
    """

    digests: tuple[tuple[str, bytes], ...]
    counted: bool


def media_type(data: bytes) -> str | None:
    """Return the type of an image that is safe to serve, by how it begins; None for all others."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def read_images(raw: bytes, parts: Iterable[ImagePart]) -> dict[str, HostedImage]:
    """Return the images of `raw` that can be hosted, by Content-ID; the first of two with one."""
    found: dict[str, HostedImage] = {}
    for part in parts:
        if part.cid in found or len(found) >= MAX_IMAGES or part.end - part.body > 2 * MAX_IMAGE:
            continue
        data = raw[part.body : part.end]
        if part.encoding == "base64":
            try:
                data = binascii.a2b_base64(data)
            except binascii.Error:
                continue
        elif part.encoding not in {"", "7bit", "8bit", "binary"}:
            continue
        kind = media_type(data)
        if kind is not None and len(data) <= MAX_IMAGE:
            found[part.cid] = HostedImage(hashlib.sha256(data).digest(), kind, data)
    return found


def host_images(page: HtmlPage, base_url: str, hosting: Hosting) -> Counter[str]:
    """Change the images of `page` that are hosted; how often each, by Content-ID."""
    digests: Mapping[str, tuple[int, bytes]] = {
        cid: (number, digest) for number, (cid, digest) in enumerate(hosting.digests)
    }
    kind = LinkKind.HOSTED if hosting.counted else LinkKind.PICTURE
    used: Counter[str] = Counter()
    for tag in page.find(_IMAGES):
        found = page.attributes(tag)
        src = (found.text("src") or "").strip()
        if src[:4].lower() != "cid:" or traits_of(found).opted_out:
            continue
        cid = unquote(src[4:], "latin-1")
        number, digest = digests.get(cid, (-1, b""))
        if 0 <= number <= MAX_NUMBER:
            hole = Hole(kind, number, digest)
            page.put_url(tag, "src", (base_url + "/", hole, tail(kind, digest)))
            used[cid] += 1
    return used


def find_embedded(text: str, cids: Iterable[str]) -> frozenset[str]:
    """Those Content-IDs that the HTML `text` refers to as ever."""
    lowered = unquote(text, "latin-1").lower() if "cid:" in text.lower() else ""
    return frozenset(cid for cid in cids if f"cid:{cid.lower()}" in lowered)
