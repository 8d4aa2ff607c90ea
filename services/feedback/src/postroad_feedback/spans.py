"""Spans of OpenTelemetry, made of events: one for each event of a mail that came with a trace.

Feedback sees every event with its time, so no other service has to know of tracing. Spans are sent
to a collector as OTLP over HTTP in JSON (opentelemetry.io/docs/specs/otlp, "JSON Protobuf
Encoding"). They are worth less than mail: when the collector is away, the latest wait in a bounded
queue, and the others are dropped and counted.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import httpcore
import structlog

from postroad_common.mail.tracecontext import TraceContext, parse_traceparent
from postroad_common.schemas.events import Event, EventName
from postroad_feedback import metrics
from postroad_feedback.message_cache import MessageInfo

SEND_SECONDS = 1.0
"""Between two requests to the collector."""
_MOST = 10_000
_AT_ONCE = 1000
_PATIENCE_SECONDS = 5.0
_INTERNAL = 1
_ERROR = 2
_FROM_ACCEPTANCE = frozenset({EventName.DELIVERED, EventName.FAILED, EventName.SUPPRESSED})
"""Their spans begin when the mail was accepted: how long it took is what one wants to see."""
_AMISS = frozenset({EventName.FAILED, EventName.BOUNCED})
_TOLD = ("attempt", "code", "enhanced", "host", "class", "stage")
_log = structlog.get_logger("spans")


class SpanExporter:
    """Sends spans to the collector at `url`, the whole address with its path."""

    def __init__(self, url: str, hostname: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self._url = url
        self._headers = [("content-type", "application/json"), *headers]
        self._resource = _attributes({"service.name": "postroad", "host.name": hostname})
        self._waiting: deque[dict[str, Any]] = deque()
        self._pool = httpcore.AsyncConnectionPool(max_connections=1)
        self._is_away = False

    def add(self, events: Iterable[Event], facts: Mapping[str, MessageInfo]) -> None:
        """Take note of those of `events` whose message came with a sampled trace."""
        for event in events:
            info = facts.get(event.message)
            if info is None or not info.traceparent:
                continue
            context = parse_traceparent(info.traceparent)
            if context is not None and context.sampled:
                self._waiting.append(span_of(event, info, context))
        while len(self._waiting) > _MOST:
            self._waiting.popleft()
            metrics.SPANS.labels("dropped").inc()

    async def send(self) -> None:
        """Send what waits, until nothing does or the collector does not take it."""
        while self._waiting:
            spans = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            trouble = await self._post(spans)
            if trouble:
                if not self._is_away:
                    _log.warning("the collector of spans takes none", url=self._url, error=trouble)
                self._is_away = True
                self._waiting.extendleft(reversed(spans))
                return
            self._is_away = False
            metrics.SPANS.labels("exported").inc(len(spans))

    async def close(self) -> None:
        """Send what waits, if that is possible, and close the connection."""
        await self.send()
        await self._pool.aclose()

    async def _post(self, spans: list[dict[str, Any]]) -> str:
        """Return what went wrong, nothing for success."""
        scope = {"scope": {"name": "postroad"}, "spans": spans}
        resource = {"resource": {"attributes": self._resource}, "scopeSpans": [scope]}
        body = json.dumps({"resourceSpans": [resource]}, separators=(",", ":")).encode()
        limits = dict.fromkeys(("connect", "read", "write", "pool"), _PATIENCE_SECONDS)
        try:
            answer = await self._pool.request(
                "POST",
                self._url,
                headers=[*self._headers, ("content-length", str(len(body)))],
                content=body,
                extensions={"timeout": limits},
            )
        except (
            OSError,
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
        ) as error:
            return f"{type(error).__name__}: {error}"
        return "" if 200 <= answer.status < 300 else f"status {answer.status}"


def span_of(event: Event, info: MessageInfo, context: TraceContext) -> dict[str, Any]:
    """Return the span of an event, as OTLP writes it. Its id is made of the event's."""
    begin = info.received if event.event in _FROM_ACCEPTANCE and info.received else event.time
    facts = event.facts
    told = {f"postroad.{name}": facts[name] for name in _TOLD if facts.get(name) is not None}
    span = {
        "traceId": context.trace,
        "spanId": sha256(event.id.encode()).hexdigest()[:16],
        "parentSpanId": context.span,
        "name": f"mail {event.event.value}",
        "kind": _INTERNAL,
        "startTimeUnixNano": str(int(min(begin, event.time) * 1e9)),
        "endTimeUnixNano": str(int(event.time * 1e9)),
        "attributes": _attributes(
            {
                "postroad.message": event.message,
                "postroad.account": info.account,
                "postroad.recipient_domain": info.recipient.rpartition("@")[2],
                **told,
            }
        ),
    }
    if event.event in _AMISS:
        text = str(facts.get("reply") or facts.get("diagnostic") or "")
        span["status"] = {"code": _ERROR, "message": text[:200]}
    return span


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return attributes as OTLP writes them: 64-bit numbers are text."""
    return [
        {
            "key": key,
            "value": {"intValue": str(value)}
            if isinstance(value, int)
            else {"stringValue": str(value)},
        }
        for key, value in values.items()
    ]
