"""Traces on the whole road: from a client's `traceparent` to the spans at a collector."""

import secrets
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

from postroad_common.mail.identifiers import new_id
from postroad_testing.spancollector import SpanCollector

LIFE = {"mail accepted", "mail transformed", "mail delivered"}


def told_of(span: dict[str, Any]) -> str:
    """Return the id of the message that a span is about."""
    told = {one["key"]: one["value"] for one in span["attributes"]}
    return str(told["postroad.message"]["stringValue"])


def test_life_of_a_traced_mail_arrives_at_the_collector_below_the_clients_span(
    road: Any, make_mail: Callable[..., EmailMessage], collector: SpanCollector
) -> None:
    traces = {way: (secrets.token_hex(16), secrets.token_hex(8)) for way in ("smtp", "rest", "not")}
    values = {
        way: f"00-{trace}-{span}-{'00' if way == 'not' else '01'}"
        for way, (trace, span) in traces.items()
    }

    def submit(way: str) -> str:
        traced = make_mail(f"Mail {new_id()}", headers={"X-Postroad-Traceparent": values[way]})
        return str(road.submit(traced, ["bob@receiver.test"]).id)

    unsampled = submit("not")
    road.wait_state(unsampled, "delivered")
    fields = {"from": "a@shop.test", "recipient": "c@d.test", "to": "c@d.test"}
    fields |= {"subject": f"Mail {new_id()}", "text": "Hello"}
    headers = {"traceparent": values["rest"]}
    by_rest = next(iter(road.api.call("POST", "/v1/send", body=fields, headers=headers)))
    messages = {"smtp": submit("smtp"), "rest": by_rest}

    for way, message in messages.items():
        trace, parent = traces[way]

        def names(trace: str = trace) -> set[str]:
            return {span["name"] for span in collector.of_trace(trace)}

        road.until(
            lambda names=names: names() >= LIFE,
            f"the spans of {way} have come",
            lambda names=names: str(names()),
        )
        spans = [span for span in collector.of_trace(trace) if span["name"] in LIFE]
        assert {told_of(span) for span in spans} == {message}
        assert {span["parentSpanId"] for span in spans} == {parent}
        assert len({span["spanId"] for span in spans}) == len(LIFE)
        times = {
            span["name"]: (int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))
            for span in spans
        }
        assert times["mail delivered"][0] <= times["mail accepted"][1] < times["mail delivered"][1]
    assert collector.of_trace(traces["not"][0]) == []
