"""Fetches MTA-STS policies over HTTPS (RFC 8461 section 3.3).

From the address that was checked and no other, with a certificate that is good for the name, no
redirects, little time and little room. The answers are strangers'.
"""

import asyncio
import re
import ssl
from collections.abc import Iterable

import httpcore

from postroad_sender.dns.resolver import Resolver
from postroad_sender.tls.mta_sts import MtaStsPolicy, PolicyError, parse
from postroad_smtp.client.stage import WireError

FETCH_SECONDS = 10.0  # in all, waiting for a turn included
MOST_FETCHES = 200
MOST_OCTETS = 65_536
_MOST_ADDRESSES = 3
_CONNECT_SECONDS = 4.0
_HTTPS = 443
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")


class FetchError(Exception):
    """There is no policy to be had; the message says why."""


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that mail might be sent to, too."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the host's addresses in turn."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        found = await self._resolver.addresses(host)
        for address in found[:_MOST_ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class PolicyFetcher:
    """Fetches policies. `tls` says which authorities are believed: the system's, without it.

    `port` and `seconds` differ for a policy host of one's own.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        tls: ssl.SSLContext | None = None,
        port: int = _HTTPS,
        seconds: float = FETCH_SECONDS,
    ) -> None:
        self._backend = _Pinned(resolver)
        if tls is None:
            tls = ssl.create_default_context()
            tls.hostname_checks_common_name = False  # RFC 8461 section 3.3
        self._tls = tls
        self._where = "" if port == _HTTPS else f":{port}"
        self._seconds = seconds
        self._turns = asyncio.Semaphore(MOST_FETCHES)

    async def fetch(self, domain: str) -> MtaStsPolicy:
        """Return the policy that `domain` (lower case, A-labels) publishes now.

        Raises:
            FetchError: there is none, or none within the time.
        """
        if not _NAME.fullmatch(domain):
            raise FetchError("not the name of a host")
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                return parse(await self._get(domain))
        except TimeoutError:
            raise FetchError(f"no policy within {self._seconds:g} seconds") from None
        except PolicyError as error:
            raise FetchError(f"the policy is not valid: {error}") from error
        except WireError as error:
            raise FetchError(error.detail) from error
        except (
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            OSError,
            ValueError,
        ) as error:
            raise FetchError(f"{type(error).__name__}: {error}"[:300]) from error

    async def _get(self, domain: str) -> bytes:
        url = f"https://mta-sts.{domain}{self._where}/.well-known/mta-sts.txt"
        limits = dict.fromkeys(("connect", "pool"), _CONNECT_SECONDS)
        limits |= dict.fromkeys(("read", "write"), self._seconds)
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._tls, network_backend=self._backend, http1=True, http2=False
            ) as pool,
            pool.stream(
                "GET",
                url,
                headers=[("user-agent", "Postroad"), ("accept", "text/plain")],
                extensions={"timeout": limits},
            ) as response,
        ):
            if response.status != 200:
                raise FetchError(f"the policy host answers {response.status}")
            kind = next(
                (value for name, value in response.headers if name.lower() == b"content-type"), b""
            )
            if kind.partition(b";")[0].strip().lower() != b"text/plain":
                raise FetchError("the policy is not text/plain")
            octets = b""
            async for chunk in response.aiter_stream():
                octets += chunk
                if len(octets) > MOST_OCTETS:
                    raise FetchError(f"the policy has more than {MOST_OCTETS} octets")
            return octets
