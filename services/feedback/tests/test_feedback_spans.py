"""Spans at a collector that listens in the process of the tests; they are read as OTLP defines."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from postroad_common.broker.topology import EVENTS
from postroad_common.schemas.events import Event, EventBatch, EventName, accepted, happened
from postroad_common.schemas.framing import encode
from postroad_common.schemas.submission import Submission
from postroad_common.settingsloading import SettingsError, load
from postroad_feedback import spans
from postroad_feedback.calls import traceparent_in
from postroad_feedback.message_cache import MessageInfo, info_in
from postroad_feedback.payload import body_of
from postroad_feedback.settings import Settings
from postroad_feedback.spans import SpanExporter
from postroad_testing import factories
from postroad_testing.process import ServiceProcess
from postroad_testing.queues import Queues
from postroad_testing.waiting import until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


@dataclass
class Collector:
    """Takes requests as a collector does; `status` is its answer."""

    url: str = ""
    status: int = 200
    refused: int = 0
    heads: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            assert b"application/json" in head
            self.heads.append(head)
            (length,) = re.findall(rb"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length))
            if self.status == 200:
                self.spans += read_spans(body)
            else:
                self.refused += 1
            writer.write(f"HTTP/1.1 {self.status} X\r\ncontent-length: 2\r\n\r\n{{}}".encode())


def read_spans(body: bytes) -> list[Span]:
    """Read a request; ids are hex in OTLP's JSON, where protobuf's own has base64."""
    text = re.sub(
        rb'"(traceId|spanId|parentSpanId)":"([0-9a-f]+)"',
        lambda found: b'"%s":"%s"' % (found[1], base64.b64encode(bytes.fromhex(found[2].decode()))),
        body,
    )
    request = json_format.Parse(text, ExportTraceServiceRequest())
    (resource,) = request.resource_spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "postroad"
    return [span for scope in resource.scope_spans for span in scope.spans]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    found = Collector()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await found.serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces"
    async with server:
        yield found


def sent(traceparent: str) -> Submission:
    submission = factories.submission("bob@receiver.test")
    return submission.model_copy(update={"traceparent": traceparent})


def life(submission: Submission) -> list[Event]:
    """Return the events of a mail that was delivered two seconds after it was accepted."""
    recipient, began = submission.recipients[0], submission.received
    told = {"attempt": 0, "code": 250, "host": "mx.receiver.test"}
    late = {"class": "no_such_user", "diagnostic": "550 No such user"}
    return [
        accepted(submission, recipient),
        happened(EventName.DELIVERED, recipient.id, began + 2, told, account=submission.account),
        happened(EventName.BOUNCED, recipient.id, began + 9, late, account=submission.account),
    ]


def facts_of(events: Sequence[Event]) -> dict[str, MessageInfo]:
    return {event.message: info for event in events if (info := info_in(event))}


async def test_events_of_a_traced_mail_arrive_as_children_of_its_request(
    collector: Collector,
) -> None:
    submission = sent(SAMPLED)
    events = life(submission)
    exporter = SpanExporter(collector.url, "mail.test")
    exporter.add(events, facts_of(events))
    await exporter.close()
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert {span.parent_span_id.hex() for span in collector.spans} == {SPAN}
    assert len({span.span_id for span in collector.spans}) == 3
    handed, delivered, bounced = collector.spans
    assert [span.name for span in collector.spans] == [
        "mail accepted",
        "mail delivered",
        "mail bounced",
    ]
    assert handed.start_time_unix_nano == handed.end_time_unix_nano
    seconds = (delivered.end_time_unix_nano - delivered.start_time_unix_nano) / 1e9
    assert seconds == pytest.approx(2.0, abs=1e-3)
    told = {each.key: each.value for each in delivered.attributes}
    assert told["postroad.code"].int_value == 250
    assert told["postroad.message"].string_value == submission.recipients[0].id
    assert told["postroad.recipient_domain"].string_value == "receiver.test"
    assert "bob" not in str(collector.spans)
    assert (bounced.status.code, bounced.status.message) == (2, "550 No such user")


@pytest.mark.parametrize("traceparent", ["", UNSAMPLED, "nonsense"])
async def test_mail_without_a_sampled_trace_makes_no_spans(
    collector: Collector, traceparent: str
) -> None:
    events = life(sent(traceparent))
    exporter = SpanExporter(collector.url, "mail.test")
    exporter.add(events, facts_of(events))
    await exporter.close()
    assert collector.spans == []


async def test_spans_wait_for_a_collector_that_is_away_but_not_without_bound(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "_MOST", 3)
    first, second = life(sent(SAMPLED)), life(sent(SAMPLED))
    exporter = SpanExporter(collector.url, "mail.test")
    exporter.add(first, facts_of(first))
    collector.status = 503
    await exporter.send()
    assert collector.refused == 1
    exporter.add(second[:1], facts_of(second))
    collector.status = 200
    await exporter.close()
    assert [span.name for span in collector.spans] == [
        "mail delivered",
        "mail bounced",
        "mail accepted",
    ]


async def test_collector_that_nobody_runs_is_no_trouble() -> None:
    events = life(sent(SAMPLED))
    exporter = SpanExporter("http://127.0.0.1:1/v1/traces", "mail.test")
    exporter.add(events, facts_of(events))
    await exporter.close()


def test_call_has_the_trace_that_all_its_events_share_and_else_none() -> None:
    one, other, none = (life(sent(value)) for value in (SAMPLED, SAMPLED[:-4] + "5-01", ""))
    bodies = {
        name: [body_of(event, facts_of(events)[event.message]) for event in events]
        for name, events in (("one", one), ("other", other), ("none", none))
    }
    assert all(json.loads(body)["data"]["traceparent"] == SAMPLED for body in bodies["one"])
    assert "traceparent" not in bodies["none"][0]
    assert traceparent_in(bodies["one"][0]) == SAMPLED
    assert traceparent_in(f"[{','.join(bodies['one'])}]") == SAMPLED
    assert traceparent_in(f"[{bodies['one'][0]},{bodies['other'][0]}]") == ""
    assert traceparent_in(f"[{bodies['one'][0]},{bodies['none'][0]}]") == ""
    assert traceparent_in(bodies["none"][0]) == ""


async def test_service_with_a_collector_tells_it_of_what_it_records(
    collector: Collector, amqp_url: str, mongodb_uri: str, tmp_path: Path
) -> None:
    events = life(sent(SAMPLED))
    settings = {
        "AMQP_URL": amqp_url,
        "MONGODB_URI": mongodb_uri,
        "OTLP_URL": collector.url,
        "OTLP_HEADERS": "Authorization=Bearer%20who-sends, X-Scope=mail",
    }
    with ServiceProcess("feedback", tmp_path / "feedback.log", **settings) as feedback:
        feedback.start()
        await Queues(amqp_url).put(EVENTS.name, [encode(EventBatch(events=tuple(events)))])
        await until(lambda: len(collector.spans) == 3, what="the spans have come")
    assert b"\r\nAuthorization: Bearer who-sends\r\n" in collector.heads[0]
    assert b"\r\nX-Scope: mail\r\n" in collector.heads[0]


@pytest.mark.parametrize("value", ["nonsense", "a b=c", "Authorization=x%0D%0AEvil: 1", "=x"])
def test_headers_for_the_collector_that_are_none_are_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "AMQP_URL": "amqp://broker/",
        "MONGODB_URI": "mongodb://db/postroad",
        "SECRET": "0123456789abcdef",
        "OTLP_HEADERS": value,
    }.items():
        monkeypatch.setenv(f"POSTROAD_{name}", text)
    with pytest.raises(SettingsError) as refused:
        load(Settings)
    assert refused.value.problems == [
        (
            "POSTROAD_OTLP_HEADERS: must be NAME=VALUE, several separated by commas,"
            " as in POSTROAD_OTLP_HEADERS=Authorization=Bearer%20TOKEN"
        )
    ]
