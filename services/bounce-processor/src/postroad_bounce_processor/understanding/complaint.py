"""Complaints: feedback reports after RFC 5965 (ARF), with the extensions of RFC 6591 and 6650.

Microsoft's JMRP sends no report: the message is attached, and its recipient stands in its header.
"""

import re
from dataclasses import dataclass

from postroad_bounce_processor.understanding.report import collapse
from postroad_common.mail.decoding import decode_text
from postroad_common.mail.mime import Part, read_headers

MAX_REPORT_BYTES = 64 * 1024

# Types by which a recipient says "I do not want this"; the others are for the postmaster.
_UNWANTED = frozenset({"abuse", "fraud", "virus", "opt-out", "opt-out-list", "other", ""})

_FIELD = re.compile(r"^feedback-type[ \t]*:", re.IGNORECASE | re.MULTILINE)
_JMRP_RECIPIENT = "x-hmxmroriginalrecipient"
_JMRP_SUBJECT = "complaint about message from"


@dataclass(frozen=True, slots=True)
class Complaint:
    """A feedback report."""

    feedback_type: str
    """Lower-case value of Feedback-Type, such as abuse, fraud, not-spam, auth-failure."""
    unwanted: bool
    """The recipient does not want this mail (not-spam and authentication reports say no such)."""
    recipient: str
    """Original-Rcpt-To without brackets, or empty: many providers redact it."""
    reporting_host: str
    user_agent: str


def find_complaint(mail: Part) -> Complaint | None:
    """Return the complaint that this mail is, or None if it is not a feedback report."""
    part = next((p for p in mail.walk() if p.media_type == "message/feedback-report"), None)
    if part is not None:
        return _read_fields(decode_text(part.content(MAX_REPORT_BYTES), ""))
    if mail.parameters.get("report-type", "").lower() == "feedback-report":
        # Its parts cannot be told apart, but its fields can.
        text = decode_text(mail.raw[mail.start : mail.start + MAX_REPORT_BYTES], "")
        first = _FIELD.search(text)
        return _read_fields(text[first.start() :]) if first else None
    return _without_report(mail)


def is_unwanted(kind: str) -> bool:
    """Tell whether a feedback type (lower case) means that the recipient does not want the mail."""
    return kind in _UNWANTED


def _read_fields(text: str) -> Complaint:
    headers = read_headers(text.lstrip("\r\n").encode("utf-8", "replace"))
    kind = headers.get("feedback-type").lower()[:40]
    recipient = headers.get("original-rcpt-to").strip().strip("<>")
    return Complaint(
        feedback_type=kind,
        unwanted=is_unwanted(kind),
        recipient=recipient[:320] if "@" in recipient else "",
        reporting_host=collapse(headers.get("reporting-mta").rpartition(";")[2], 255),
        user_agent=collapse(headers.get("user-agent"), 255),
    )


def _without_report(mail: Part) -> Complaint | None:
    """Read what Microsoft's JMRP sends: the message alone, with the recipient in its header."""
    subject = mail.headers.get("subject").strip().lower()
    for part in mail.walk():
        if part.media_type != "message/rfc822":
            continue
        returned = read_headers(part.content(MAX_REPORT_BYTES).lstrip(b"\r\n"))
        recipient = returned.get(_JMRP_RECIPIENT).strip().strip("<>")
        if recipient or subject.startswith(_JMRP_SUBJECT):
            return Complaint(
                feedback_type="abuse",
                unwanted=True,
                recipient=recipient[:320] if "@" in recipient else "",
                reporting_host="",
                user_agent="JMRP",
            )
    return None
