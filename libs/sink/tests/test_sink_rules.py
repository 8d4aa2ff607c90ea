"""What is refused when a rule makes no sense, and what is said then."""

import json
from pathlib import Path
from typing import Any

import pytest

from postroad_sink import rules
from postroad_sink.harness import RunningSink


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"stage": "rcpt"}, "nothing would happen"),
        ({"stage": "nowhere", "reply": 450}, "Input should be"),
        ({"reply": "99 no"}, "a reply starts with a code"),
        ({"reply": "650 no"}, "a reply starts with a code"),
        ({"reply": "450 a\r\n250 b"}, "a reply starts with a code"),
        ({"stage": "connect", "recipient": "*", "reply": 450}, "no recipient is known"),
        ({"stage": "ehlo", "sender": "*", "reply": 450}, "no sender is known"),
        ({"stage": "mail", "per": "recipient", "times": 1, "reply": 450}, "cannot be counted"),
        ({"per": "recipient", "connections": 1}, "connections cannot be counted"),
        ({"latency": 1}, "belong to stage connect"),
        ({"stage": "connect", "latency": 1, "reply": 450}, "stand without reply"),
        ({"stage": "connect", "extensions": {"XCLIENT": True}}, "unknown: XCLIENT"),
        ({"stage": "connect", "extensions": {"DSN": 5}}, "DSN is true or false"),
        ({"stage": "data", "reply": "250 ok"}, "only be refused"),
        ({"burst": 2, "reply": 450}, "burst needs rate"),
        ({"reply": 450, "colour": "red"}, "Extra inputs"),
        ({"reply": 450, "probability": 0}, "greater than 0"),
        ({"reply": 450, "delay": -1}, "greater than or equal to 0"),
    ],
)
async def test_rule_that_makes_no_sense_is_refused_with_the_reason(
    running: RunningSink, rule: dict[str, Any], words: str
):
    answer = await running.http.post("/behaviour", json=rule)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert (await running.http.get("/behaviour")).json() == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1", b"\xff", b"null", b'"x"', b"[null]", b"[" * 5000]
)
async def test_body_that_is_no_rule_is_refused(running: RunningSink, body: bytes):
    answer = await running.http.post("/behaviour", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


async def test_field_at_fault_is_named(running: RunningSink):
    answer = await running.http.post(
        "/behaviour", json=[{"reply": 450}, {"reply": 450, "times": 0}]
    )
    assert answer.json()["error"]["field"] == "1.times"


async def test_too_many_rules_are_refused_and_none_is_added(running: RunningSink):
    answer = await running.http.post("/behaviour", json=[{"reply": 450}] * 1001)
    assert answer.status_code == 400
    assert (await running.http.get("/behaviour")).json() == []


async def test_body_above_a_megabyte_is_refused(running: RunningSink):
    answer = await running.http.post("/behaviour", content=b" " * (1024 * 1024 + 1))
    assert answer.status_code == 413


async def test_page_of_another_origin_cannot_change_anything(running: RunningSink):
    headers = {"origin": "http://evil.test"}
    answer = await running.http.post("/behaviour", json={"reply": 450}, headers=headers)
    assert answer.status_code == 403
    assert (await running.http.delete("/messages", headers=headers)).status_code == 403
    same = {"origin": str(running.http.base_url).rstrip("/")}
    assert (await running.http.delete("/messages", headers=same)).status_code == 200


async def test_every_example_of_the_readme_is_a_rule(running: RunningSink):
    readme = Path(rules.__file__).with_name("README.md").read_text()
    examples = [json.loads(line) for line in readme.splitlines() if line.startswith('{"')]
    assert len(examples) == 10
    assert (await running.http.post("/behaviour", json=examples)).status_code == 201
