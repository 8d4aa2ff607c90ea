"""Plays the receiving server that finds out late: returns a mail to its envelope address.

The report is a delivery status notification as RFC 3464 describes it, sent by SMTP to the MX
listener, as any server in the world would.
"""

import email.policy
import smtplib
from email.message import EmailMessage, MIMEPart
from email.mime.multipart import MIMEMultipart
from email.utils import formatdate, make_msgid

from postroad_stack.demo.failure import DemoFailedError
from postroad_stack.document import Listener

_TIMEOUT = 15.0
_OK = 250
_HOST = "mx.example.test"
STATUS = "5.1.1"
DIAGNOSTIC = "550 5.1.1 No such user here"


def send_bounce(listener: Listener, envelope: str, failed: str, original: bytes) -> str:
    """Return a mail to the address it came from; return the listener's reply.

    Args:
        listener: the MX listener.
        envelope: the envelope sender that the mail arrived with.
        failed: the recipient that does not exist.
        original: the mail as it arrived.

    Raises:
        DemoFailedError: the listener did not take it.
    """
    report = delivery_report(envelope, failed, original)
    try:
        with smtplib.SMTP(listener.host, listener.port, _HOST, _TIMEOUT) as client:
            client.ehlo()
            _expect(client.mail(""), "MAIL FROM:<>")
            _expect(client.rcpt(envelope), f"RCPT TO:<{envelope}>")
            answer = client.data(report)
            _expect(answer, "the report")
    except (OSError, smtplib.SMTPException) as error:
        raise DemoFailedError(f"the MX listener failed: {error}", "ingress-smtp") from None
    return f"{answer[0]} {answer[1].decode(errors='replace')}"


def delivery_report(envelope: str, failed: str, original: bytes) -> bytes:
    """Return the report as MIME text with CRLF line ends."""
    report = MIMEMultipart("report")
    report.set_param("report-type", "delivery-status")
    report["From"] = f"Mail Delivery System <mailer-daemon@{_HOST}>"
    report["To"] = envelope
    report["Subject"] = "Undelivered Mail Returned to Sender"
    report["Date"] = formatdate(localtime=True)
    report["Message-ID"] = make_msgid(domain=_HOST)
    report["Auto-Submitted"] = "auto-replied"
    words = EmailMessage()
    words.set_content(f"I am sorry, but <{failed}> does not exist.\n\n{DIAGNOSTIC}\n")
    headers, _, _ = original.partition(b"\r\n\r\n")
    for part in (
        words,
        _status(failed),
        _part("text", "rfc822-headers", headers.decode("ascii", "replace")),
    ):
        report.attach(part)
    return report.as_bytes(policy=email.policy.SMTP.clone(max_line_length=None))


def _status(failed: str) -> MIMEPart:
    return _part(
        "message",
        "delivery-status",
        f"Reporting-MTA: dns; {_HOST}\r\nArrival-Date: {formatdate()}\r\n\r\n"
        f"Final-Recipient: rfc822; {failed}\r\nAction: failed\r\nStatus: {STATUS}\r\n"
        f"Diagnostic-Code: smtp; {DIAGNOSTIC}\r\n",
    )


def _part(main: str, sub: str, text: str) -> MIMEPart:
    part = MIMEPart()
    part["Content-Type"] = f"{main}/{sub}"
    part.set_payload(text.replace("\r\n", "\n"))
    return part


def _expect(answer: tuple[int, bytes], what: str) -> None:
    code, text = answer
    if code != _OK:
        raise DemoFailedError(
            f"{what} was refused: {code} {text.decode(errors='replace')}", "ingress-smtp"
        )
