"""The answers: the pixel, images, the robots file, and the small pages around unsubscribing."""

from dataclasses import dataclass

Headers = list[tuple[bytes, bytes]]

# The smallest transparent GIF: one pixel, 43 octets.
PIXEL = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
NO_STORE = (b"cache-control", b"no-store, no-cache, must-revalidate, private, max-age=0")
NO_INDEX = (b"x-robots-tag", b"noindex, nofollow")
_HTML = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    "<meta name=viewport content='width=device-width'><meta name=robots content=noindex>"
    "<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;"
    "padding:0 1rem}}button{{font:inherit;padding:.5rem 1rem}}</style>"
    "<h1>{title}</h1>{body}</html>"
)
_FORM = (
    "<p>Click to receive no more mail of this sender at this address.</p>"
    "<form method=post><input type=hidden name=List-Unsubscribe value=One-Click>"
    "<button>Unsubscribe</button></form>"
)


@dataclass(frozen=True, slots=True)
class TrackerPage:
    """A complete answer."""

    status: int
    headers: Headers
    body: bytes


def _page(status: int, content_type: bytes, body: bytes, *more: tuple[bytes, bytes]) -> TrackerPage:
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        *more,
    ]
    return TrackerPage(status, headers, body)


def _html(status: int, title: str, body: str) -> TrackerPage:
    policy = b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
    return _page(
        status,
        b"text/html; charset=utf-8",
        _HTML.format(title=title, body=body).encode(),
        NO_STORE,
        NO_INDEX,
        (b"content-security-policy", policy),
        (b"referrer-policy", b"no-referrer"),
    )


def _text(status: int, text: bytes, *more: tuple[bytes, bytes]) -> TrackerPage:
    return _page(status, b"text/plain; charset=utf-8", text, *more)


PIXEL_PAGE = _page(200, b"image/gif", PIXEL, NO_STORE, NO_INDEX)
ROBOTS = _text(200, b"User-agent: *\nDisallow: /\n", (b"cache-control", b"max-age=86400"))
NOT_FOUND = _text(404, b"Not found\n", NO_STORE)
NOT_UNSUBSCRIBED = _text(400, b"Expected List-Unsubscribe=One-Click\n", NO_STORE)
TOO_LARGE = _text(413, b"Too large\n", NO_STORE, (b"connection", b"close"))
NOT_NOW = _text(503, b"Please try again\n", NO_STORE, (b"retry-after", b"60"))
READ_ONLY = _text(405, b"Method not allowed\n", NO_STORE, (b"allow", b"GET, HEAD"))
READ_OR_POST = _text(405, b"Method not allowed\n", NO_STORE, (b"allow", b"GET, HEAD, POST"))
ASK_UNSUBSCRIBE = _html(200, "Unsubscribe?", _FORM)
UNSUBSCRIBED = _html(200, "Unsubscribed", "<p>You will receive no more mail of this sender.</p>")


# A reader whose image is not to be had sees nothing, rather than a broken image.
NO_IMAGE = _page(404, b"image/gif", PIXEL, NO_STORE, NO_INDEX)
IMAGE_AWAY = _page(503, b"image/gif", PIXEL, NO_STORE, NO_INDEX, (b"retry-after", b"30"))
_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")
_ASK_AGAIN = (b"cache-control", b"private, no-cache")
# Should a browser take an image for a page all the same, that page may do nothing.
_SANDBOX = (b"content-security-policy", b"default-src 'none'; sandbox")


def image(media_type: bytes, data: bytes, tag: bytes, *, counted: bool) -> TrackerPage:
    """Return an image, to be kept for ever; a `counted` one must be asked for each time."""
    caching = _ASK_AGAIN if counted else _FOR_EVER
    return _page(200, media_type, data, (b"etag", tag), caching, NO_INDEX, _SANDBOX)


def not_modified(tag: bytes, *, counted: bool) -> TrackerPage:
    """Return the answer to a client that has the image already."""
    return TrackerPage(304, [(b"etag", tag), _ASK_AGAIN if counted else _FOR_EVER, NO_INDEX], b"")


def redirect(target: bytes) -> TrackerPage:
    """Return a temporary redirection to exactly `target`."""
    headers = [(b"location", target), (b"content-length", b"0"), NO_STORE, NO_INDEX]
    return TrackerPage(302, headers, b"")
