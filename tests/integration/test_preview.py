"""Previews beside the mail that is sent: the same but for what has to differ."""

import re
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from typing import Any

from postroad_common.mail.identifiers import new_id

_IDS = re.compile(rb"[0-9a-v]{21}")
_HEADS = re.compile(rb"/([cioup])[A-Za-z0-9_-]{36}")
_DATES = re.compile(rb"\w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")
_SIGNATURES = re.compile(rb"^DKIM-Signature:.*?\r\n(?![ \t])", re.MULTILINE | re.DOTALL)
_BOUNDARIES = re.compile(rb"=_[0-9a-f]{32}")


def bare(raw: bytes) -> bytes:
    """Return the mail without what differs each time: ids, dates, tokens, signatures."""
    raw = re.sub(rb"=\r\n", b"", _SIGNATURES.sub(b"", raw))
    for pattern, mark in ((_HEADS, rb"/\1TOKEN"), (_DATES, b"DATE"), (_BOUNDARIES, b"BOUNDARY")):
        raw = pattern.sub(mark, raw)
    return _IDS.sub(b"ID", raw)


def test_mail_that_is_sent_is_the_mail_of_the_preview(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    domain = f"{new_id()}.test"
    road.api.post("/v1/domains", {"domain": domain, "trusted": True})
    sender = f"Shop <news@{domain}>"
    whole = {
        "envelope": f"bounces@{domain}",
        "recipient": "bob@receiver.test",
        "mime": make_mail(subject, sender=sender).as_string(policy=policy.SMTP),
        "inlinecss": True,
        "listunsubscribe": True,
    }
    built = {
        "recipients": {"bob@receiver.test": {"name": "Bob"}},
        "from": sender,
        "to": "bob@receiver.test",
        "subject": f"{subject} built",
        "html": "<p>Dear {{ name }}, <a href='https://shop.test/x'>look</a></p>",
        "textfromhtml": True,
        "bouncetracking": False,
    }
    for fields in (whole, built):
        shown = road.api.post("/v1/preview", fields)
        (message,) = road.api.post("/v1/send", fields)
        [arrived] = road.received(shown["subject"])
        assert bare(shown["raw"].encode()) == bare(road.sink.raw(arrived.number))
        keys = {re.sub(r"\s.*", "", key) for key in shown["signatures"]}
        assert keys == set(road.wait_event(message, "transformed")["changes"]["dkim"])
        assert [
            warning["code"] for warning in shown["warnings"] if warning["severity"] == "error"
        ] == []


def test_preview_leaves_no_trace_and_its_links_lead_nowhere(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    address = f"{new_id()}@receiver.test"
    fields = {"recipient": address, "body": make_mail(subject).as_string(policy=policy.SMTP)}
    shown = road.api.post("/v1/preview", fields)
    links = [change["after"] for change in shown["changes"] if change["kind"].endswith("tracked")]
    assert len(links) == 3
    for link in links:
        assert link in shown["html"].replace("&amp;", "&")
        assert road.get(link).status_code == 404
    # What is sent afterwards has come all the way; by then a trace would be there.
    (message,) = road.api.post("/v1/send", {**fields, "recipient": f"after-{address}"})
    road.wait_state(message, "delivered")
    assert road.api.get(f"/v1/addresses/{address}")["messages"] == []
    assert [each.recipients for each in road.received(subject)] == [(f"after-{address}",)]
