"""One file fetched by GET: from an address that was checked, with an end to everything.

Each redirect is a URL of its own: its form is checked, its name is resolved, and its address is
checked and connected to (`postroad_common.web`). No proxies, cookies or credentials.
"""

import functools
import re
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, urldefrag, urljoin, urlsplit

import httpcore

from postroad_common.web.guard import CallRefusedError, UrlGuard, check_url
from postroad_common.web.pinning import PinnedBackend
from postroad_ingress_http.fetching.errors import UnreachableError, UrlRefusedError
from postroad_ingress_http.fetching.filenames import name_file
from postroad_ingress_http.fetching.places import Allowance

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
MOST_REDIRECTS = 5
_HEADERS = (
    ("user-agent", "Postroad-Attachments/1"),
    ("accept", "*/*"),
    ("accept-encoding", "identity"),
    ("connection", "close"),
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*", re.IGNORECASE)
_SAYS_NOTHING = frozenset({"application/octet-stream", "binary/octet-stream", "application/binary"})
_CONTAINERS = ("multipart/", "message/")


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file, with the media type and the name that its server gives it, if any."""

    data: bytes
    media_type: str | None
    name: str | None


class FileClient:
    """Fetches files by URLs of these `schemes`; `guard` says where they may lead."""

    def __init__(
        self,
        guard: UrlGuard,
        schemes: Collection[str],
        *,
        tls: ssl.SSLContext | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._backend = PinnedBackend(guard)
        self._schemes = schemes
        self._given_tls = tls
        times = dict.fromkeys(("connect", "pool"), CONNECT_SECONDS)
        self._extensions = {"timeout": {**times, **dict.fromkeys(("read", "write"), read_seconds)}}

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        """What servers are checked with; the system's CAs are megabytes, read for the first one."""
        return self._given_tls or ssl.create_default_context()

    async def fetch(self, url: str, allowance: Allowance) -> FetchedFile:
        """Return the file at `url`, its octets taken from the allowance.

        Raises:
            FileFetchError: it may not be fetched, does not come, or is too large.
        """
        try:
            return await self._follow(url, allowance)
        except CallRefusedError:  # its text has the address, which is not the client's business
            raise UrlRefusedError("Its host has an address that is not public.") from None
        except httpcore.TimeoutException:
            raise UnreachableError("Its server does not answer in time.") from None
        except (httpcore.NetworkError, ssl.SSLError) as error:
            raise UnreachableError(_explain(error)) from None
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, ValueError):
            raise UnreachableError("Its server does not speak HTTP properly.") from None
        except OSError:
            raise UnreachableError("Its host cannot be found.") from None

    async def _follow(self, url: str, allowance: Allowance) -> FetchedFile:
        here = urldefrag(url).url
        for _ in range(MOST_REDIRECTS + 1):
            self._check(here)
            async with (
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls, network_backend=self._backend, http1=True, http2=False
                ) as pool,
                pool.stream("GET", here, headers=_HEADERS, extensions=self._extensions) as answer,
            ):
                if answer.status not in _REDIRECTS:
                    return await _read(answer, url, allowance)
                here = _redirected(here, _header(answer, b"location"))
        raise UnreachableError(f"It redirects more than {MOST_REDIRECTS} times.")

    def _check(self, url: str) -> None:
        """Raise UrlRefusedError unless the URL may be fetched, as far as its text says."""
        try:
            check_url(url)
        except CallRefusedError as refusal:
            text = str(refusal)
            raise UrlRefusedError(f"{text[:1].upper()}{text[1:]}.") from None
        if urlsplit(url).scheme not in self._schemes:
            raise UrlRefusedError("Files are fetched by https only.")


def _redirected(here: str, location: str) -> str:
    if not location:
        raise UnreachableError("It redirects to nowhere.")
    there = urldefrag(urljoin(here, quote(location, safe="%/:?#[]@!$&'()*+,;=~"))).url
    if urlsplit(here).scheme == "https" and urlsplit(there).scheme == "http":
        raise UrlRefusedError("It redirects from https to http.")
    return there


async def _read(answer: httpcore.Response, url: str, allowance: Allowance) -> FetchedFile:
    if answer.status != 200:
        raise UnreachableError(f"Its server answers with status {answer.status}.")
    if _header(answer, b"content-encoding").lower() not in {"", "identity"}:
        raise UnreachableError("It comes compressed, which was not asked for.")
    announced = _header(answer, b"content-length")
    if announced.isdecimal():
        allowance.expect(int(announced))
    pieces = []
    async for piece in answer.aiter_stream():
        allowance.take(len(piece))
        pieces.append(piece)
    media_type = _media_type(_header(answer, b"content-type"))
    name = name_file(_header(answer, b"content-disposition"), url, media_type)
    return FetchedFile(b"".join(pieces), media_type, name)


def _media_type(header: str) -> str | None:
    """Return the media type if it says what a file is, and can be that of an attachment."""
    found = header.partition(";")[0].strip().lower()
    if len(found) > 100 or not _MEDIA_TYPE.fullmatch(found) or found in _SAYS_NOTHING:
        return None
    return None if found.startswith(_CONTAINERS) else found


def _header(answer: httpcore.Response, name: bytes) -> str:
    for key, value in answer.headers:
        if key.lower() == name:
            return value.decode("utf-8", "replace").strip()
    return ""


def _explain(error: Exception) -> str:
    """Return what to tell a client about a connection that did not come about, or broke."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return "Its certificate is not valid, or its TLS does not work."
    if isinstance(error, httpcore.ConnectError):
        return "Its server cannot be connected to."
    return "Its server breaks the connection off."
