"""Clients that people use, and what arrives on the queue."""

import smtplib
import ssl
from email.message import EmailMessage
from typing import Any


def _mail(subject: str = "Grüße") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann <ann@shop.example>"
    message["To"] = "bob@there.example"
    message["Subject"] = subject
    message.set_content("Hello, wörld.\n.hidden dot\n")
    return message


def test_smtplib_with_starttls_puts_the_message_on_the_queue(ingress: Any, login: Any, broker: Any):
    context = ssl.create_default_context(cafile=str(ingress.certificates.ca))
    with smtplib.SMTP("localhost", ingress.ports["submission"]) as client:
        client.starttls(context=context)
        client.login(login.username, login.password)
        refused = client.send_message(_mail())
    assert refused == {}
    submission, body = broker.submission()
    assert submission.envelope == "ann@shop.example"
    assert [each.address for each in submission.recipients] == ["bob@there.example"]
    assert submission.subject == "Grüße"
    assert submission.eightbit
    assert submission.credential == login.username
    assert submission.features.clicktracking
    assert submission.client is not None
    assert submission.client.protocol == "ESMTPSA"
    assert submission.client.tls is not None
    assert b"\r\n.hidden dot\r\n" in body
    assert submission.size == len(body)
