"""Events: facts in the past tense, each about one message id, batched on their way to feedback.

An event that one cause can produce only once has an id made of its cause, so that the same fact
told twice is stored once. Event names are those that users see in timelines and webhooks;
`transformed` and `notified` are in timelines only, and what expired arrives as `failed`.

Mail that Postroad writes itself (notifications, forwards of returned mail) has events, too, marked
by `kind` in their data (`is_own_mail`): they make up its timeline, and are neither counted among
the account's mail nor posted to webhooks.
"""

from enum import StrEnum
from typing import Any

from pydantic import Field

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.features import Features
from postroad_common.schemas.model import Schema
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import Recipient, Submission


class EventName(StrEnum):
    """What can happen to a message."""

    ACCEPTED = "accepted"
    TRANSFORMED = "transformed"
    ATTEMPT = "attempt"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    FAILED = "failed"
    BOUNCED = "bounced"
    RESPONSE = "response"
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    SUPPRESSED = "suppressed"
    UNSUBSCRIBED = "unsubscribed"
    NOTIFIED = "notified"


TIMELINE_ONLY = frozenset({EventName.TRANSFORMED, EventName.NOTIFIED})
OWN_MAIL = ("dsn", "forward")
"""The kinds (`OutboundMessage.kind`) of mail that Postroad writes itself."""


class Event(Schema):
    """One fact. `time` is Unix seconds; `data` holds JSON values only, of bounded size.

    `account` is empty where the writer does not know it (the tracker): feedback fills it in.
    """

    id: str
    event: EventName
    message: str
    account: str = ""
    time: float
    data: dict[str, Any] = Field(default_factory=dict)


class EventBatch(Schema):
    """The events of one AMQP message."""

    v: int = 1
    events: tuple[Event, ...]


def _facts(submission: Submission, recipient: Recipient) -> dict[str, Any]:
    """What the message record needs; told by the ingress and, should that be lost, once more."""
    stored = {} if submission.body is None else {"body": submission.body.model_dump()}
    return {
        **stored,
        "submission": submission.id,
        "credential": submission.credential,
        "source": submission.source,
        "received": submission.received,
        "envelope": submission.envelope,
        "recipient": recipient.address,
        "notify": list(recipient.notify),
        "orcpt": recipient.orcpt,
        "ret": submission.ret,
        "envid": submission.envid,
        "features": submission.features.model_dump(),
        "forward_bounces": submission.forward_bounces,
        "tags": list(submission.tags),
        "subject": submission.subject[:500],
        "size": submission.size,
        "expires": submission.expires,
    }


def accepted(submission: Submission, recipient: Recipient) -> Event:
    """The message is on a durable queue."""
    data = _facts(submission, recipient)
    if submission.client is not None:
        data["client"] = submission.client.model_dump(exclude_none=True)
    if submission.line_ends_repaired:
        data["line_ends_repaired"] = submission.line_ends_repaired
    return Event(
        id=f"{recipient.id}.accepted",
        event=EventName.ACCEPTED,
        message=recipient.id,
        account=submission.account,
        time=submission.received,
        data=data,
    )


def transformed(
    submission: Submission, recipient: Recipient, time: float, changes: dict[str, Any]
) -> Event:
    """The message is ready for delivery. `changes`: what was done to it, and what not and why."""
    return Event(
        id=f"{recipient.id}.transformed",
        event=EventName.TRANSFORMED,
        message=recipient.id,
        account=submission.account,
        time=time,
        data={**_facts(submission, recipient), "changes": changes},
    )


def suppressed(
    submission: Submission, recipient: Recipient, time: float, reason: str, since: float | None
) -> Event:
    """The recipient is on the account's suppression list: not sent."""
    data = {**_facts(submission, recipient), "reason": reason, "since": since}
    return Event(
        id=f"{recipient.id}.suppressed",
        event=EventName.SUPPRESSED,
        message=recipient.id,
        account=submission.account,
        time=time,
        data=data,
    )


def attempted(
    name: EventName, message: OutboundMessage, recipient_id: str, time: float, data: dict[str, Any]
) -> Event:
    """An attempt ended: `name` is DELIVERED, DEFERRED or FAILED.

    `data` as the sender gives it: reply, code, enhanced, host, ip, stage, tls, next, reason.
    """
    kind = {"kind": message.kind} if message.kind in OWN_MAIL else {}
    return Event(
        id=f"{recipient_id}.{name}.{message.attempt}",
        event=name,
        message=recipient_id,
        account=message.account,
        time=time,
        data={"attempt": message.attempt, **kind, **data},
    )


def written(message: OutboundMessage, origin: str) -> Event:
    """Postroad has written a mail itself, about the message `origin`: its record begins here."""
    recipient = message.recipients[0]
    return Event(
        id=f"{recipient.id}.accepted",
        event=EventName.ACCEPTED,
        message=recipient.id,
        account=message.account,
        time=message.received,
        data={
            "kind": message.kind,
            "about": origin,
            "submission": message.submission,
            "credential": "",
            "source": message.kind,
            "received": message.received,
            "envelope": message.envelope,
            "recipient": recipient.address,
            "notify": list(recipient.notify),
            "features": Features(**dict.fromkeys(Features.model_fields, False)).model_dump(),
            "forward_bounces": False,
            "tags": [],
            "subject": message.subject[:500],
            "size": message.size,
            "expires": message.expires,
        },
    )


def notified(
    message: OutboundMessage, recipient_id: str, notification: str, outcome: str, time: float
) -> Event:
    """The envelope sender is told (RFC 3464) how it went; `notification` is that mail's id."""
    return Event(
        id=f"{recipient_id}.notified.{notification}",
        event=EventName.NOTIFIED,
        message=recipient_id,
        account=message.account,
        time=time,
        data={"outcome": outcome, "to": message.envelope, "notification": notification},
    )


def is_own_mail(event: Event) -> bool:
    """Whether the event is about mail that Postroad wrote itself."""
    return event.data.get("kind") in OWN_MAIL


def happened(
    name: EventName,
    message: str,
    time: float,
    data: dict[str, Any],
    *,
    account: str = "",
    event_id: str | None = None,
) -> Event:
    """Anything else: a click, an opening, a bounce. Give an `event_id` where the cause has one."""
    return Event(
        id=event_id or new_id(time),
        event=name,
        message=message,
        account=account,
        time=time,
        data=data,
    )
