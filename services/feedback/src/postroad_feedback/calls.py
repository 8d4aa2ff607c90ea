"""Webhook calls: signed POST requests to the address that was checked, and to no other.

Signatures are those of Standard Webhooks. No redirects, no proxies, little time, and of the answer
only its beginning is read.
"""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore
from standardwebhooks import Webhook as Signer

from postroad_common.store.webhooks import Webhook
from postroad_common.web.guard import CallRefusedError, UrlGuard, check_url
from postroad_common.web.pinning import PinnedBackend
from postroad_feedback.batching import Call

CONNECT_SECONDS = 5.0
CALL_SECONDS = 15.0
CONCURRENCY = 8
"""Calls to one end point at once."""
_ANSWER_BYTES = 4096
_TRACEPARENT = re.compile(r'"traceparent":"([0-9a-f-]{55})"')
_LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call went: a status, or else an error; `seconds` it took.

    `retry_after` are the seconds that the end point asks to be left alone for; `timed_out` says
    that it took the call and did not answer.
    """

    status: int | None
    error: str
    text: str
    seconds: float
    retry_after: float | None = None
    timed_out: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the end point has taken the event."""
        return self.status is not None and 200 <= self.status < 300


class EndpointLine:
    """Open connections to one end point, with its secrets."""

    def __init__(
        self, pool: httpcore.AsyncConnectionPool, webhook: Webhook, call_seconds: float
    ) -> None:
        self._pool = pool
        self._webhook = webhook
        self._call_seconds = call_seconds

    async def call(self, call: Call) -> CallResult:
        """One try; never raises for what the other side does."""
        began = time.monotonic()
        body = call.body.encode()
        timed_out = False
        try:
            check_url(self._webhook.url)
            headers = signed(self._webhook.secrets, call.id, call.body, time.time())
            if traceparent := traceparent_in(call.body):
                headers.append(("traceparent", traceparent))
            async with asyncio.timeout(self._call_seconds):
                return await self._request(headers, body, began)
        except (TimeoutError, httpcore.ReadTimeout, httpcore.WriteTimeout):
            timed_out = True
            error = f"no answer within {self._call_seconds:g} seconds"
        except CallRefusedError as refusal:
            error = f"not called: {refusal}"
        except (
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
        ) as trouble:
            error = f"{type(trouble).__name__}: {trouble}"
        except (OSError, ValueError, httpcore.UnsupportedProtocol) as trouble:
            error = f"{type(trouble).__name__}: {trouble}"
        seconds = time.monotonic() - began
        return CallResult(None, error[:300], "", seconds, timed_out=timed_out)

    async def _request(
        self, headers: list[tuple[str, str]], body: bytes, began: float
    ) -> CallResult:
        limits = dict.fromkeys(("connect", "pool"), CONNECT_SECONDS)
        limits |= dict.fromkeys(("read", "write"), self._call_seconds)
        async with self._pool.stream(
            "POST", self._webhook.url, headers=headers, content=body, extensions={"timeout": limits}
        ) as response:
            text = b""
            async for chunk in response.aiter_stream():
                text += chunk
                if len(text) >= _ANSWER_BYTES:
                    break
            retry_after = next(
                (value for name, value in response.headers if name.lower() == b"retry-after"), None
            )
            return CallResult(
                status=response.status,
                error="",
                text=text[:_ANSWER_BYTES].decode("utf-8", "replace"),
                seconds=time.monotonic() - began,
                retry_after=_seconds(retry_after),
            )


class Caller:
    """Opens lines to end points; `guard` says where they may lead."""

    def __init__(
        self,
        guard: UrlGuard,
        tls: ssl.SSLContext | None = None,
        *,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._call_seconds = call_seconds
        self._backend = PinnedBackend(guard)
        self._tls = tls or ssl.create_default_context()

    @asynccontextmanager
    async def line(self, webhook: Webhook) -> AsyncIterator[EndpointLine]:
        """Open connections for some calls, closed at the end: later calls are checked anew."""
        async with httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=CONCURRENCY,
            network_backend=self._backend,
            http1=True,
            http2=False,
        ) as pool:
            yield EndpointLine(pool, webhook, self._call_seconds)


def signed(secrets: Sequence[str], call: str, body: str, now: float) -> list[tuple[str, str]]:
    """Return the request's headers, with a signature by each secret.

    Raises:
        ValueError: a secret is none.
    """
    moment = datetime.fromtimestamp(int(now), UTC)
    signatures = " ".join(Signer(secret).sign(call, moment, body) for secret in secrets)
    return [
        ("content-type", "application/json"),
        ("user-agent", "Postroad-Webhooks/1"),
        ("webhook-id", call),
        ("webhook-timestamp", str(int(now))),
        ("webhook-signature", signatures),
    ]


def traceparent_in(body: str) -> str:
    """Return the trace that all events of a call belong to; empty where they have none, or many."""
    if '"traceparent":"' not in body:
        return ""
    found = _TRACEPARENT.findall(body)
    all_have_it = len(found) == body.count('"event_id":"')
    return str(found[0]) if all_have_it and len(set(found)) == 1 else ""


def _seconds(header: bytes | None) -> float | None:
    """Retry-After, RFC 9110 section 10.2.3, within reason."""
    if header is None:
        return None
    text = header.decode("latin-1").strip()
    try:
        wait = (
            float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
        )
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), _LONGEST_RETRY_AFTER)
