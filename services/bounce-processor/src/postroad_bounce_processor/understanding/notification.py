"""Amazon SES notifications: what SNS sends by mail, a JSON document in the text.

It holds what a delivery report or a feedback report would, under other names:
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html

Gateways take the header field of SNS away. Without it the text must be such a document from its
first character on, with the identifiers that Amazon gives: people who quote one write a word first.
"""

import json
from collections.abc import Iterator
from typing import Any

from postroad_bounce_processor.understanding.complaint import Complaint, is_unwanted
from postroad_bounce_processor.understanding.report import (
    MAX_RECIPIENTS,
    RecipientReport,
    Report,
    read_recipient,
)
from postroad_common.mail.decoding import decode_text, scrub
from postroad_common.mail.mime import Part

MAX_DOCUMENT_BYTES = 300 * 1024
"""Octets that are read: SNS takes 256 KiB, and the mail may encode them."""
_MARK = "x-amz-sns-message-id"
_IDENTIFIERS = {
    "Bounce": "feedbackId",
    "Complaint": "feedbackId",
    "Delivery": "processingTimeMillis",
}


def find_notification(mail: Part) -> Report | Complaint | None:
    """Return the report or the complaint that an SNS mail holds, or None if it is none."""
    is_marked = mail.headers.has(_MARK)
    document = _document(_text_of(mail, is_marked=is_marked))
    if isinstance(document.get("Message"), str):  # as it came from SNS, in its envelope
        document = _document(document["Message"])
    kind = str(document.get("notificationType", document.get("eventType", "")))
    body = _object(document.get(kind.lower()))
    if not is_marked and not _is_from_amazon(kind, body, _object(document.get("mail"))):
        return None
    if kind == "Complaint":
        recipients = [
            _string(entry.get("emailAddress", "")) for entry in _entries(body, "complained")
        ]
        feedback = _string(body.get("complaintFeedbackType", "abuse")).lower()[:40]
        return Complaint(
            feedback_type=feedback,
            unwanted=is_unwanted(feedback),
            recipient=(recipients or [""])[0][:320],
            reporting_host="",
            user_agent=_string(body.get("userAgent", ""))[:255],
        )
    blocks: tuple[RecipientReport, ...] = ()
    if kind == "Bounce":
        blocks = tuple(_bounced(body, entry) for entry in _entries(body, "bounced"))
    elif kind == "Delivery":
        blocks = tuple(_delivered(body, _string(address)) for address in _list(body, "recipients"))
    if not blocks:
        return None
    host = _string(body.get("reportingMTA", "")).rpartition(";")[2].strip()
    return Report(host[:255], "", blocks)


def _text_of(mail: Part, *, is_marked: bool) -> str:
    """Return the text that may be a document; empty if it is none."""
    part = next((part for part in mail.walk() if part.media_type == "text/plain"), mail)
    if not is_marked and part.text.lstrip()[:1] != "{":
        return ""
    return decode_text(part.content(MAX_DOCUMENT_BYTES), part.parameters.get("charset", ""))


def _is_from_amazon(kind: str, body: dict[str, Any], mail: dict[str, Any]) -> bool:
    identifier = _IDENTIFIERS.get(kind, "")
    return bool(identifier and body.get(identifier) is not None and mail.get("messageId"))


def _document(text: str) -> dict[str, Any]:
    """Return the document in a text; its strings may hold anything: see `_string`."""
    begin = text.find("{")
    if begin < 0:
        return {}
    try:
        # Not strict: the mail may have folded its long line.
        document, _ = json.JSONDecoder(strict=False).raw_decode(text, begin)
    except (ValueError, RecursionError):
        return {}
    return _object(document)


def _bounced(body: dict[str, Any], entry: dict[str, Any]) -> RecipientReport:
    final = str(body.get("bounceType", "")) == "Permanent"
    return read_recipient(
        {
            "final-recipient": _string(entry.get("emailAddress", "")),
            "action": _string(entry.get("action", "failed")),
            "status": _string(entry.get("status", "5.0.0" if final else "4.0.0")),
            "diagnostic-code": _string(entry.get("diagnosticCode", "")),
        }
    )


def _delivered(body: dict[str, Any], address: str) -> RecipientReport:
    return read_recipient(
        {
            "final-recipient": address,
            "action": "delivered",
            "status": "2.0.0",
            "diagnostic-code": _string(body.get("smtpResponse", "")),
        }
    )


def _entries(body: dict[str, Any], which: str) -> Iterator[dict[str, Any]]:
    for entry in _list(body, f"{which}Recipients"):
        yield _object(entry)


def _list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    return value[:MAX_RECIPIENTS] if isinstance(value, list) else []


def _string(value: object) -> str:
    """Return a value as text; escapes in JSON may stand for lone surrogates."""
    return scrub(str(value))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
