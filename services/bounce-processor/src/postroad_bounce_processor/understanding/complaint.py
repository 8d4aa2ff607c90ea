"""Complaints: feedback reports after RFC 5965 (ARF), with the extensions of RFC 6591 and 6650."""

from dataclasses import dataclass

from postroad_bounce_processor.reading.decoding import decode_text
from postroad_bounce_processor.reading.mime import Part, read_headers
from postroad_bounce_processor.understanding.report import collapse

MAX_REPORT_BYTES = 64 * 1024

# Types by which a recipient says "I do not want this"; the others are for the postmaster.
_UNWANTED = frozenset({"abuse", "fraud", "virus", "opt-out", "opt-out-list", "other", ""})


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
    if part is None:
        return None
    text = part.content(MAX_REPORT_BYTES)
    headers = read_headers(decode_text(text, "").lstrip("\r\n").encode("utf-8", "replace"))
    kind = headers.get("feedback-type").lower()[:40]
    recipient = headers.get("original-rcpt-to").strip().strip("<>")
    return Complaint(
        feedback_type=kind,
        unwanted=kind in _UNWANTED,
        recipient=recipient[:320] if "@" in recipient else "",
        reporting_host=collapse(headers.get("reporting-mta").rpartition(";")[2], 255),
        user_agent=collapse(headers.get("user-agent"), 255),
    )
