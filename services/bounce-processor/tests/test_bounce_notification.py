"""Notifications of Amazon SES, with the header field of SNS and without it."""

import json
from typing import Any

import pytest

from postroad_bounce_processor.understanding.complaint import Complaint
from postroad_bounce_processor.understanding.notification import find_notification
from postroad_bounce_processor.understanding.report import Report
from postroad_common.mail.mime import read

IDENTIFIED: dict[str, Any] = {"feedbackId": "0100018a"}
MAIL = {"messageId": "0100018b"}
BOUNCED = {"bouncedRecipients": [{"emailAddress": "kim@example.net", "status": "5.1.1"}]}
COMPLAINED = {"complainedRecipients": [{"emailAddress": "kim@example.net"}]}
DELIVERED = {"recipients": ["kim@example.net"], "processingTimeMillis": 546}


def notified(text: str, header: str = "") -> Report | Complaint | None:
    return find_notification(read(f"From: x@example.org\n{header}\n\n{text}".encode()))


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"notificationType": "Bounce", "bounce": BOUNCED | IDENTIFIED}, Report),
        ({"eventType": "Bounce", "bounce": BOUNCED | IDENTIFIED}, Report),
        ({"notificationType": "Complaint", "complaint": COMPLAINED | IDENTIFIED}, Complaint),
        ({"notificationType": "Delivery", "delivery": DELIVERED}, Report),
    ],
)
def test_document_is_known_by_its_identifiers(document: dict[str, Any], kind: type):
    text = json.dumps(document | {"mail": MAIL})
    assert isinstance(notified(text), kind)
    assert isinstance(notified(json.dumps({"Type": "Notification", "Message": text})), kind)
    assert isinstance(notified(f"Fwd: {text}", "x-amz-sns-message-id: 1"), kind)


def test_lone_surrogates_of_json_are_no_text():
    hostile = {"emailAddress": "\ud800@x.example", "status": "\udfff", "diagnosticCode": "5 \ud83d"}
    bounce = IDENTIFIED | {"bouncedRecipients": [hostile], "reportingMTA": "dns; \udbff"}
    found = notified(json.dumps({"notificationType": "Bounce", "bounce": bounce, "mail": MAIL}))
    assert isinstance(found, Report)
    assert str(found).encode()
    complaint = IDENTIFIED | {"complainedRecipients": [hostile], "userAgent": "\ud800"}
    text = json.dumps({"notificationType": "Complaint", "complaint": complaint, "mail": MAIL})
    assert str(notified(text)).encode()


@pytest.mark.parametrize(
    "text",
    [
        f"look: {json.dumps({'notificationType': 'Bounce', 'bounce': BOUNCED | IDENTIFIED})}",
        json.dumps({"notificationType": "Bounce", "bounce": BOUNCED | IDENTIFIED}),
        json.dumps({"notificationType": "Bounce", "bounce": BOUNCED, "mail": MAIL}),
        json.dumps({"notificationType": "Bounce", "bounce": [], "mail": MAIL}),
        json.dumps({"notificationType": "Bounce", "mail": {}})[:20],
        '{"Message": "' + "[" * 50_000,
        "{",
    ],
)
def test_what_only_looks_like_one_is_none(text: str):
    assert notified(text) is None
