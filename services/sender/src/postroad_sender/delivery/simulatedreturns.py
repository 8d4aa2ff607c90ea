"""What comes back of simulated mail: a bounce (RFC 3464), a complaint (RFC 5965).

They are written as receivers write them, and read by the bounce-processor like any other.
"""

from postroad_common.mail.dates import date_text
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient

MAX_HEADER = 65_536
"""Octets of the message's header that are returned."""


def write_bounce(
    domain: str, message: OutboundMessage, recipient: OutboundRecipient, header: bytes, now: float
) -> bytes:
    """Return the report that `recipient` does not exist; `header` is that of the message."""
    status = (
        f"Reporting-MTA: dns; {domain}\r\n"
        f"Arrival-Date: {date_text(now)}\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient.address}\r\n"
        "Action: failed\r\n"
        "Status: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 simulated: no such user\r\n"
    )
    return _report(
        domain,
        message,
        recipient,
        ("delivery-status", "message/delivery-status", status),
        subject="Undelivered Mail Returned to Sender",
        text=f"This is a simulation: {recipient.address} does not exist, as its name says.",
        header=header,
        now=now,
    )


def write_complaint(
    domain: str, message: OutboundMessage, recipient: OutboundRecipient, header: bytes, now: float
) -> bytes:
    """Return the report that `recipient` calls the message unwanted."""
    report = (
        "Feedback-Type: abuse\r\n"
        "User-Agent: Postroad-Simulator/1\r\n"
        "Version: 1\r\n"
        f"Original-Rcpt-To: <{recipient.address}>\r\n"
        f"Arrival-Date: {date_text(now)}\r\n"
        f"Reporting-MTA: dns; {domain}\r\n"
    )
    return _report(
        domain,
        message,
        recipient,
        ("feedback-report", "message/feedback-report", report),
        subject="Complaint about a message",
        text=f"This is a simulation: {recipient.address} complains, as its name says.",
        header=header,
        now=now,
    )


def _report(
    domain: str,
    message: OutboundMessage,
    recipient: OutboundRecipient,
    report: tuple[str, str, str],
    *,
    subject: str,
    text: str,
    header: bytes,
    now: float,
) -> bytes:
    """Return a multipart/report (RFC 6522); `report` is its type, and the type and text of it."""
    kind, media_type, content = report
    boundary = f"simulated-{recipient.id}"
    head = (
        f"From: Simulator <mailer-daemon@{domain}>\r\n"
        f"To: <{message.mail_from}>\r\n"
        f"Subject: {subject}\r\n"
        f"Date: {date_text(now)}\r\n"
        f"Message-ID: <{kind}.{recipient.id}@{domain}>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
        f"--{boundary}\r\nContent-Type: {media_type}\r\n\r\n{content}\r\n"
        f"--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n"
    )
    end = f"\r\n--{boundary}--\r\n"
    return head.encode() + header[:MAX_HEADER] + end.encode()
