"""Submissions, outbound messages and failures that are valid as they come.

Every factory takes changes by keyword, with the names of the model's fields. Ids are new each
time, times are now, and messages expire in an hour.
"""

import time
from collections.abc import Mapping
from typing import Any

from postroad_common.compression import compress
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.archive import ArchiveBatch, ArchivedMail, ArchiveEntry, SentCopy
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.schemas.returns import DeliveryFailure
from postroad_common.schemas.submission import Recipient, Submission

MIME = b"Subject: hello\r\nFrom: a@b.test\r\n\r\nhello\r\n"
_HOUR = 3600.0


def recipient(address: str = "reader@receiver.test", **changes: Any) -> Recipient:
    """Return a recipient of a submission; its id is new unless given."""
    return Recipient(**({"id": new_id(), "address": address} | changes))


def submission(*addresses: str, **changes: Any) -> Submission:
    """Return a submission for these recipients, or for `recipients`, or for one."""
    now = changes.get("received", time.time())
    values: dict[str, Any] = {
        "id": new_id(now),
        "account": "acme",
        "credential": "login",
        "source": "smtp",
        "received": now,
        "envelope": "sender@acme.test",
        "recipients": tuple(
            recipient(address, id=new_id(now)) for address in addresses or ("reader@receiver.test",)
        ),
        "features": Features(),
        "expires": now + _HOUR,
        "size": 1000,
    }
    return Submission(**(values | changes))


def outbound_recipient(address: str = "reader@receiver.test", **changes: Any) -> OutboundRecipient:
    """Return a recipient of an outbound message; its id is new unless given."""
    return OutboundRecipient(**({"id": new_id(), "address": address} | changes))


def outbound(*addresses: str, **changes: Any) -> OutboundMessage:
    """Return a message to these recipients, or to `recipients`, or to one.

    Its id is that of its first recipient, as the transformer has it.
    """
    now = changes.get("received", time.time())
    recipients = changes.pop("recipients", None) or tuple(
        outbound_recipient(address) for address in addresses or ("reader@receiver.test",)
    )
    values: dict[str, Any] = {
        "id": recipients[0].id,
        "submission": new_id(),
        "account": "acme",
        "envelope": "a@b.test",
        "mail_from": "a@b.test",
        "recipients": recipients,
        "received": now,
        "expires": now + _HOUR,
        "size": len(MIME),
    }
    return OutboundMessage(**(values | changes))


def failure(message: OutboundMessage | None = None, **changes: Any) -> DeliveryFailure:
    """Return the failure of `message`, refused as unknown unless changed."""
    values: dict[str, Any] = {
        "id": new_id(),
        "outbound": message or outbound(),
        "outcome": "failed",
        "reply": "550 5.1.1 User unknown",
        "code": 550,
        "enhanced": "5.1.1",
        "host": "mx.receiver.test",
        "stage": "rcpt",
        "time": time.time(),
    }
    return DeliveryFailure(**(values | changes))


def archived(
    one: Submission, raw: bytes, sent: Mapping[str, bytes] | None = None, **changes: Any
) -> tuple[ArchiveBatch, bytes]:
    """Return a batch for the archive with this submission, kept for an hour.

    `sent` has what went out by message id; nothing unless given.
    """
    copies = dict(sent or {})
    mail = ArchivedMail(
        **{
            "submission": one.id,
            "account": one.account,
            "expires": time.time() + _HOUR,
            "submitted": len(raw),
            "copies": tuple(
                SentCopy(messages=(message_id,), head=len(octets))
                for message_id, octets in copies.items()
            ),
        }
        | changes
    )
    octets = encode(mail, raw + b"".join(copies.values()))
    entry = ArchiveEntry(submission=one.id, account=one.account, size=len(octets))
    batch = ArchiveBatch(id=new_id(), expires=mail.expires, entries=(entry,))
    return batch, compress(octets)
