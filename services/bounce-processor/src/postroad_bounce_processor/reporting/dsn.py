"""Writes delivery status notifications: multipart/report after RFC 3464 and RFC 6522.

Three parts: a text for people that says what happened and what to do, the status for machines,
and the header or the whole of the message as RET asks (RFC 3461 section 4.3). Whether one is to
be written, and to whom, `notify` decides; who sends it, `handler`.
"""

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.header import Header

from postroad_common.mail.dates import date_text
from postroad_common.mail.decoding import decode_words
from postroad_common.mail.mime import read_headers
from postroad_common.schemas.outbound import OutboundRecipient
from postroad_common.schemas.returns import DeliveryFailure

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_FOLD_AT = 900
_ACTIONS = {"expired": "failed"}
_DEFAULT_STATUS = {
    "failed": "5.0.0",
    "expired": "4.4.7",
    "delayed": "4.0.0",
    "delivered": "2.0.0",
    "relayed": "2.0.0",
    "expanded": "2.0.0",
}
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_SUBJECTS = {
    "failed": "Not delivered: your mail to {who}",
    "delayed": "Delayed: your mail to {who}",
    "delivered": "Delivered: your mail to {who}",
    "relayed": "Passed on: your mail to {who}",
    "expanded": "Sent on to several: your mail to {who}",
}
_OPENINGS = {
    "failed": "your mail could not be delivered to {the_address}:",
    "delayed": "your mail has not been delivered yet to {the_address}:",
    "delivered": "your mail was delivered to {the_address}:",
    "relayed": "your mail was handed on to the mail server of {the_address}:",
    "expanded": "your mail was delivered, and sent on to several others, for {the_address}:",
}


@dataclass(frozen=True, slots=True)
class Notification:
    """A finished notification, ready to send with the null sender."""

    to: str
    subject: str
    content: bytes
    head: int
    """Length of the header block, with its blank line, in octets."""
    eightbit: bool
    smtputf8: bool


def write(
    failure: DeliveryFailure,
    recipients: Sequence[OutboundRecipient],
    quoted: bytes,
    *,
    message_id: str,
    hostname: str,
    explanation: str,
) -> Notification:
    """Return the notification of ``failure`` for ``recipients`` (those that want one).

    Args:
        failure: what happened.
        recipients: the concerned ones whose NOTIFY asks for it; at least one.
        quoted: the message: its header block, or all of it.
        message_id: the id of the notification itself.
        hostname: the name of this relay (Reporting-MTA, From, Message-ID).
        explanation: one sentence for people about the reason of a failure; may be empty.
    """
    message = failure.outbound
    action = _ACTIONS.get(failure.outcome, failure.outcome)
    whole = message.ret == "full" and action == "failed"
    header, rest = _cut(quoted)
    returned = header + rest if whole and rest else header
    original = read_headers(header)
    text = _human(
        failure,
        action,
        recipients,
        subject=decode_words(original.get("subject")),
        explanation=explanation,
        hostname=hostname,
    )
    status = _status(failure, action, recipients, hostname)
    boundary = _boundary(message_id, returned)
    eightbit = not returned.isascii()
    who = recipients[0].address if len(recipients) == 1 else f"{len(recipients)} recipients"
    subject = _clean(_SUBJECTS[action].format(who=who), 200)
    fields = [
        f"From: Mail Delivery <postmaster@{hostname}>",
        f"To: <{_clean(message.envelope, 320)}>",
        f"Subject: {_encoded(subject)}",
        f"Date: {date_text(failure.time)}",
        f"Message-ID: <{message_id}@{hostname}>",
    ]
    reference = original.get("message-id")
    if re.fullmatch(r"<[\x21-\x7e]{1,300}>", reference):
        fields += [f"In-Reply-To: {reference}", f"References: {reference}"]
    fields += [
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f' boundary="{boundary}"',
        f"Content-Transfer-Encoding: {'8bit' if eightbit else '7bit'}",
    ]
    head = "\r\n".join(fields).encode() + b"\r\n\r\n"
    delimiter = f"--{boundary}".encode()
    kind = b"message/rfc822" if whole and rest else b"text/rfc822-headers"
    parts = [
        b"This is a delivery status notification (RFC 3464).\r\n",
        delimiter,
        b"\r\n",
        text,
        b"\r\n",
        delimiter,
        b"\r\nContent-Type: message/delivery-status\r\n\r\n",
        status,
        b"\r\n",
        delimiter,
        b"\r\nContent-Type: ",
        kind,
        b"\r\nContent-Transfer-Encoding: ",
        b"8bit" if eightbit else b"7bit",
        b"\r\n\r\n",
        returned,
        b"" if returned.endswith(b"\n") else b"\r\n",
        b"\r\n",
        delimiter,
        b"--\r\n",
    ]
    return Notification(
        to=message.envelope,
        subject=subject,
        content=head + b"".join(parts),
        head=len(head),
        eightbit=eightbit,
        smtputf8=not message.envelope.isascii(),
    )


def _human(
    failure: DeliveryFailure,
    action: str,
    recipients: Sequence[OutboundRecipient],
    *,
    subject: str,
    explanation: str,
    hostname: str,
) -> bytes:
    one = len(recipients) == 1
    lines = [
        "Hello,",
        "",
        _OPENINGS[action].format(the_address="this address" if one else "these addresses"),
        "",
    ]
    lines += [f"    {_clean(recipient.address, 320)}" for recipient in recipients]
    lines.append("")
    if explanation and action in {"failed", "delayed"}:
        lines += [explanation, ""]
    if failure.reply:
        said = f"{_clean(failure.host, 255)} said" if failure.host else "The reason, technically"
        lines += [f"{said}:", "", f"    {_clean(failure.reply, 2000)}", ""]
    lines += [*_outlook(failure, action), ""]
    lines += [
        f"    Subject:  {_clean(subject, 300) or '(none)'}",
        f"    Sent:     {date_text(failure.outbound.received)}",
        f"    Message:  {' '.join(recipient.id for recipient in recipients[:20])}",
    ]
    if failure.outbound.envid:
        lines.append(f"    Envelope: {_clean(failure.outbound.envid, 100)}")
    lines += ["", "-- ", f"Written by the mail server {hostname}; nobody reads replies to it.", ""]
    text = "\r\n".join(lines)
    if text.isascii() and all(len(line) <= _FOLD_AT for line in lines):
        return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text.encode("ascii")
    encoded = binascii.b2a_qp(text.encode(), istext=True).replace(b"\r\n", b"\n")
    return (
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded.replace(b"\n", b"\r\n")
    )


def _outlook(failure: DeliveryFailure, action: str) -> list[str]:
    times = f"{failure.attempts} attempt{'s' if failure.attempts != 1 else ''}"
    match action:
        case "failed":
            if failure.outcome == "expired":
                return [f"After {times} the time for delivery is over; it will not be tried again."]
            return ["It will not be tried again."]
        case "delayed":
            until = date_text(failure.outbound.expires)
            return [
                f"After {times} it is still being tried, until {until}.",
                "You do not need to do anything, and should not send it again.",
            ]
        case "relayed":
            return [
                "That server does not report deliveries, so this is the last you hear of it,",
                "unless it fails.",
            ]
        case "expanded":
            return [
                "Whether each of them gets it is not reported,",
                "unless it fails.",
            ]
        case _:
            return ["The receiving server has taken responsibility for it."]


def _status(
    failure: DeliveryFailure, action: str, recipients: Sequence[OutboundRecipient], hostname: str
) -> bytes:
    message = failure.outbound
    fields = [f"Reporting-MTA: dns; {hostname}"]
    if message.envid:
        fields.insert(0, f"Original-Envelope-Id: {_clean(message.envid, 100)}")
    fields += [
        f"X-Postroad-Message-ID: {message.id}",
        f"Arrival-Date: {date_text(message.received)}",
    ]
    status = failure.enhanced if _STATUS.fullmatch(failure.enhanced) else ""
    for recipient in recipients:
        fields.append("")
        if recipient.orcpt:
            fields.append(f"Original-Recipient: {_original(recipient.orcpt)}")
        fields += [
            f"Final-Recipient: {_typed_address(recipient.address)}",
            f"Action: {action}",
            f"Status: {status or _DEFAULT_STATUS[failure.outcome]}",
        ]
        if failure.host:
            fields.append(f"Remote-MTA: dns; {_ascii(_clean(failure.host, 255))}")
        if failure.reply:
            kind = "smtp" if failure.host and failure.code else "x-postroad"
            fields.append(
                _folded(f"Diagnostic-Code: {kind}; {_ascii(_clean(failure.reply, 2000))}")
            )
        if failure.attempts:
            fields.append(f"Last-Attempt-Date: {date_text(failure.time)}")
        if action == "delayed":
            fields.append(f"Will-Retry-Until: {date_text(message.expires)}")
    return "\r\n".join(fields).encode("ascii", "replace") + b"\r\n"


def _cut(message: bytes) -> tuple[bytes, bytes]:
    """Split into header block (with its last line end) and the rest (with the blank line)."""
    match = _HEADER_END.search(message)
    if match is None:
        return message, b""
    newline = 2 if message[match.start() : match.start() + 1] == b"\r" else 1
    end = match.start() + newline
    header, rest = message[:end], message[end:]
    return header, rest if len(rest) > newline else b""


def _boundary(message_id: str, returned: bytes) -> str:
    """Return a boundary that does not occur in what is returned (RFC 2046 section 5.1.1)."""
    number = 0
    while f"=_{message_id}.{number}".encode() in returned:
        number += 1
    return f"=_{message_id}.{number}"


def _original(orcpt: str) -> str:
    """RFC 3461 section 6.3: the address as the sender gave it, without its xtext encoding."""
    kind, semicolon, address = orcpt.partition(";")
    if not semicolon:
        kind, address = "rfc822", orcpt
    if not address.isascii():
        kind = "utf-8"
    return f"{_clean(kind, 40)}; {_ascii(_clean(address, 500))}"


def _typed_address(address: str) -> str:
    return f"{'rfc822' if address.isascii() else 'utf-8'}; {_ascii(_clean(address, 320))}"


def _ascii(text: str) -> str:
    """Non-ASCII characters in the form that plain reports may carry (RFC 6533 section 3)."""
    return "".join(c if c < "\x7f" else f"\\x{{{ord(c):X}}}" for c in text)


def _clean(text: str, limit: int) -> str:
    """No control characters, so that nothing breaks out of its line; at most ``limit`` long."""
    return _CONTROL.sub(" ", text[: limit * 2]).strip()[:limit]


def _encoded(subject: str) -> str:
    return subject if subject.isascii() else Header(subject, "utf-8").encode(linesep="\r\n")


def _folded(field: str) -> str:
    """Fold a field so that no line comes near the limit of 998 octets (RFC 5322 section 2.1.1)."""
    lines = [field[start : start + _FOLD_AT] for start in range(0, len(field), _FOLD_AT)]
    return "\r\n ".join(lines)
