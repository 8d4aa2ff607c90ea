"""Answers every request: an ASGI application without a framework, since all it does is one look-up.

A signed path is answered as its kind asks, anything else with 404: there is no way to make it
redirect to a URL that Postroad did not sign. HEAD is answered like GET and not counted.
"""

import re
import time
from urllib.parse import parse_qsl

from postroad_common.tokens import LinkKind, LinkSigner, LinkToken
from postroad_tracker import metrics, pages
from postroad_tracker.asgi import Receive, Scope, Send
from postroad_tracker.client_address import ClientAddresses
from postroad_tracker.image_cache import ImageCache
from postroad_tracker.pages import TrackerPage
from postroad_tracker.recorder import Recorder

_MAX_FORM = 4096
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")
# A part of a multipart form: its name, what else its header says, and the value.
_ONE_CLICK_PART = re.compile(
    r"""[ ;]name=(["']?)list-unsubscribe\1[ \t]*+(?:;[^\r\n]*+)?+(?:\r?\n[^\r\n]++)*+"""
    r"""\r?\n\r?\n[ \t]*+one-click\s*+--""",
    re.IGNORECASE,
)
_SERVED = {kind: metrics.REQUESTS.labels(kind.value, "served") for kind in LinkKind}
_HEAD = {kind: metrics.REQUESTS.labels(kind.value, "head") for kind in LinkKind}
_IMAGES = frozenset({LinkKind.HOSTED, LinkKind.PICTURE})
_UNRECORDED = frozenset({LinkKind.UNSUBSCRIBE, LinkKind.PICTURE})
_DIGEST = 32  # octets of a SHA-256


class Handler:
    """The application; `prefix` is the path of the tracking URL, without a slash at its end."""

    def __init__(
        self,
        signer: LinkSigner,
        recorder: Recorder,
        client_addresses: ClientAddresses,
        image_cache: ImageCache,
        prefix: str = "",
    ) -> None:
        self._signer = signer
        self._image_cache = image_cache
        self._recorder = recorder
        self._client_addresses = client_addresses
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        page = await self._answer(scope, receive)
        await send({"type": "http.response.start", "status": page.status, "headers": page.headers})
        await send({"type": "http.response.body", "body": page.body})
        metrics.REQUEST_SECONDS.observe(time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive) -> TrackerPage:
        method: str = scope["method"]
        path: str = scope["path"]
        if path == "/robots.txt":
            return pages.ROBOTS if method in {"GET", "HEAD"} else pages.READ_ONLY
        token = self._signer.read_path(path.removeprefix(self._prefix))
        if token is None or not is_safe(token):
            metrics.REFUSED.inc()
            return pages.NOT_FOUND
        if method == "GET":
            _SERVED[token.kind].inc()
            if token.kind not in _UNRECORDED:
                self._record(token, scope)
        elif method == "HEAD":
            _HEAD[token.kind].inc()
            self._recorder.asked(token, time.time())
        elif token.kind is LinkKind.UNSUBSCRIBE:
            return await self._unsubscribe(token, scope, receive)
        else:
            return pages.READ_ONLY
        if token.kind in _IMAGES:
            return await self._image(token, scope)
        return _page_for(token)

    async def _image(self, token: LinkToken, scope: Scope) -> TrackerPage:
        known = dict(scope["headers"]).get(b"if-none-match")
        counted = token.kind is LinkKind.HOSTED
        return await self._image_cache.page(token.target or b"", known, counted=counted)

    def _record(self, token: LinkToken, scope: Scope) -> bool:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        peer = scope["client"][0] if scope.get("client") else ""
        address = self._client_addresses.address(peer, headers.get(b"x-forwarded-for"))
        kept = self._recorder.record(token, headers, address, time.time())
        if not kept:
            metrics.UNRECORDED.inc()
        return kept

    async def _unsubscribe(self, token: LinkToken, scope: Scope, receive: Receive) -> TrackerPage:
        """One-click unsubscription, RFC 8058: a POST that says so; no redirect, no cookies."""
        if scope["method"] != "POST":
            return pages.READ_OR_POST
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return pages.NOT_UNSUBSCRIBED
            body += message.get("body", b"")
            if len(body) > _MAX_FORM:
                return pages.TOO_LARGE
            if not message.get("more_body"):
                break
        if not _says_one_click(body):
            return pages.NOT_UNSUBSCRIBED
        _SERVED[token.kind].inc()
        # Unlike a click this may not get lost: without room for it, the asker is to try again.
        return pages.UNSUBSCRIBED if self._record(token, scope) else pages.NOT_NOW


def is_safe(token: LinkToken) -> bool:
    """Whether the target may stand in a Location header.

    The transformer signs only such targets; should it ever sign another, this is the second wall.
    """
    target = token.target
    if target is None:
        return True
    if token.kind in _IMAGES:
        return len(target) == _DIGEST
    is_web = target[:8].lower().startswith((b"http://", b"https://"))
    return is_web and _CONTROLS.search(target) is None


def _page_for(token: LinkToken) -> TrackerPage:
    if token.target is not None:
        return pages.redirect(token.target)
    return pages.ASK_UNSUBSCRIBE if token.kind is LinkKind.UNSUBSCRIBE else pages.PIXEL_PAGE


def _says_one_click(body: bytes) -> bool:
    """Whether a form body, url-encoded or multipart, holds List-Unsubscribe=One-Click."""
    text = body.decode("latin-1")
    if text.lstrip().startswith("--"):
        return _ONE_CLICK_PART.search(text) is not None
    return any(
        name.strip().lower() == "list-unsubscribe" and value.strip().lower() == "one-click"
        for name, value in parse_qsl(text)
    )
