"""Plays the receiving server that finds out late: returns a mail to its envelope address.

The report is a delivery status notification as RFC 3464 describes it, sent by SMTP to the MX
listener, as any server in the world would.
"""

import secrets
import smtplib
from email.utils import formatdate, make_msgid

from postroad_cli.demo.failure import DemoFailedError
from postroad_stack.document import ListenerInfo

_TIMEOUT = 60.0
_OK = 250
_HOST = "mx.example.test"
STATUS = "5.1.1"
DIAGNOSTIC = "550 5.1.1 No such user here"


def send_bounce(listener: ListenerInfo, envelope: str, failed: str, original: bytes) -> str:
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
    headers = original.partition(b"\r\n\r\n")[0].decode("ascii", "replace")
    date = formatdate(localtime=True)
    boundary = f"report-{secrets.token_hex(8)}"
    text = f"""\
From: Mail Delivery System <mailer-daemon@{_HOST}>
To: {envelope}
Subject: Undelivered Mail Returned to Sender
Date: {date}
Message-ID: {make_msgid(domain=_HOST)}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"

--{boundary}
Content-Type: text/plain; charset=us-ascii

I am sorry, but <{failed}> does not exist.

{DIAGNOSTIC}

--{boundary}
Content-Type: message/delivery-status

Reporting-MTA: dns; {_HOST}
Arrival-Date: {date}

Final-Recipient: rfc822; {failed}
Action: failed
Status: {STATUS}
Diagnostic-Code: smtp; {DIAGNOSTIC}

--{boundary}
Content-Type: text/rfc822-headers

{headers}

--{boundary}--
"""
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode("ascii", "replace")


def _expect(answer: tuple[int, bytes], what: str) -> None:
    code, text = answer
    if code != _OK:
        raise DemoFailedError(
            f"{what} was refused: {code} {text.decode(errors='replace')}", "ingress-smtp"
        )
