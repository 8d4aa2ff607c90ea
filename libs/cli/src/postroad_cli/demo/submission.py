"""Hands a mail in by SMTP submission, as any mail program does: STARTTLS, AUTH, one message."""

import smtplib
import ssl
from dataclasses import dataclass

from postroad_cli.demo.failure import DemoFailedError
from postroad_cli.demo.mails import DemoMail
from postroad_stack.document import StackDocument

_TIMEOUT = 60.0
_OK = 250


@dataclass(frozen=True)
class SubmissionReply:
    """The reply to the final dot, the message id in it, and how the session was protected."""

    reply: str
    message: str
    tls: str


def submit(document: StackDocument, mail: DemoMail) -> SubmissionReply:
    """Send one mail through the submission listener of a stack.

    Raises:
        DemoFailedError: the listener refused or did not answer.
    """
    listener, login = document.smtp, document.credential
    if listener is None or login is None:
        raise DemoFailedError("this stack has no SMTP submission")
    try:
        with smtplib.SMTP(listener.host, listener.port, "demo.shop.test", _TIMEOUT) as client:
            client.starttls(context=ssl.create_default_context(cafile=document.ca))
            client.login(login.username, login.password)
            _expect(client.mail(mail.envelope), "MAIL")
            _expect(client.rcpt(mail.recipient), "RCPT")
            code, text = client.data(mail.raw)
            _expect((code, text), "the message")
            secured = client.sock
            tls = secured.version() if isinstance(secured, ssl.SSLSocket) else None
    except (OSError, smtplib.SMTPException) as error:
        raise DemoFailedError(f"SMTP submission failed: {error}", "ingress-smtp") from None
    reply = f"{code} {text.decode(errors='replace')}"
    return SubmissionReply(reply=reply, message=reply.rsplit(maxsplit=1)[-1], tls=tls or "no TLS")


def _expect(answer: tuple[int, bytes], what: str) -> None:
    code, text = answer
    if code != _OK:
        raise DemoFailedError(
            f"{what} was refused: {code} {text.decode(errors='replace')}", "ingress-smtp"
        )
