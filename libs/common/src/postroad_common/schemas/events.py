"""Events: facts in the past tense, each about one message id, batched on their way to feedback.

An event that one cause can produce only once has an id made of its cause, so that the same fact
told twice is stored once. Event names are those that users see in timelines and webhooks;
`scheduled`, `transformed` and `notified` are in timelines only; what expired arrives as `failed`.

Mail that Postroad writes itself (notifications, forwards of returned mail) has events, too, marked
by `kind` in their data (`is_own_mail`): they make up its timeline, and are neither counted among
the account's mail nor posted to webhooks.
"""

from typing import Any

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.eventdata import (
    AcceptedData,
    AttemptData,
    SuppressedData,
    TransformedData,
)
from postroad_common.schemas.eventkinds import (
    KINDS,
    OWN_MAIL,
    TIMELINE_ONLY,
    Accepted,
    AnyEvent,
    AttemptBegun,
    Bounced,
    Cancelled,
    Clicked,
    Complained,
    Deferred,
    Delivered,
    Event,
    EventBatch,
    EventName,
    Failed,
    Notified,
    Opened,
    Responded,
    Suppressed,
    Tested,
    Transformed,
    Unsubscribed,
    read_event,
    recall,
)
from postroad_common.schemas.features import Features
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import Recipient, Submission

__all__ = [
    "OWN_MAIL",
    "TIMELINE_ONLY",
    "Accepted",
    "AnyEvent",
    "AttemptBegun",
    "Bounced",
    "Cancelled",
    "Clicked",
    "Complained",
    "Deferred",
    "Delivered",
    "Event",
    "EventBatch",
    "EventName",
    "Failed",
    "Notified",
    "Opened",
    "Responded",
    "Suppressed",
    "Tested",
    "Transformed",
    "Unsubscribed",
    "accepted",
    "attempted",
    "cancelled",
    "happened",
    "is_own_mail",
    "notified",
    "read_event",
    "recall",
    "suppressed",
    "tested",
    "transformed",
    "written",
]


def _facts(submission: Submission, recipient: Recipient) -> dict[str, Any]:
    """Return what the message record needs (`MessageFacts`)."""
    seldom: dict[str, Any] = {}
    if submission.body is not None:
        seldom["body"] = submission.body.model_dump()
    if of_list := submission.list or submission.sender:
        seldom["list"] = of_list
    if submission.sender:
        seldom["sender"] = submission.sender
    if submission.message_id_hash:
        seldom["message_id_hash"] = submission.message_id_hash
    if submission.metadata:
        seldom["metadata"] = submission.metadata
    if submission.traceparent:
        seldom["traceparent"] = submission.traceparent
    if submission.template:
        seldom["template"] = submission.template
    if submission.test:
        seldom["test"] = True
    return {
        **seldom,
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
    """Return the event: the message is on a durable queue."""
    data = _facts(submission, recipient)
    if submission.client is not None:
        data["client"] = submission.client.model_dump(exclude_none=True)
    if submission.line_ends_repaired:
        data["line_ends_repaired"] = submission.line_ends_repaired
    if submission.send_at is not None:
        data["send_at"] = submission.send_at
    return Accepted.trusted(
        f"{recipient.id}.accepted",
        recipient.id,
        account=submission.account,
        time=submission.received,
        data=AcceptedData.trusted(data),
    )


def transformed(
    submission: Submission, recipient: Recipient, time: float, changes: dict[str, Any]
) -> Event:
    """Return the event of a message ready for delivery, with what was done to it and what not."""
    return Transformed.trusted(
        f"{recipient.id}.transformed",
        recipient.id,
        account=submission.account,
        time=time,
        data=TransformedData.trusted({**_facts(submission, recipient), "changes": changes}),
    )


def suppressed(
    submission: Submission, recipient: Recipient, time: float, reason: str, since: float | None
) -> Event:
    """Return the event of a message that is not sent: its recipient is on the suppression list."""
    facts = {**_facts(submission, recipient), "reason": reason, "since": since}
    return Suppressed.trusted(
        f"{recipient.id}.suppressed",
        recipient.id,
        account=submission.account,
        time=time,
        data=SuppressedData.trusted(facts),
    )


def tested(submission: Submission, recipient: Recipient, time: float) -> Event:
    """Return the event that ends a test: all was done, and it is not sent."""
    return happened(
        EventName.TESTED,
        recipient.id,
        time,
        {"test": True},
        account=submission.account,
        event_id=f"{recipient.id}.tested",
    )


def attempted(
    name: EventName,
    message: OutboundMessage,
    recipient_id: str,
    time: float,
    data: dict[str, Any],
) -> Event:
    """Return the event of an attempt that ended: `name` is DELIVERED, DEFERRED or FAILED.

    `data` as the sender gives it (`AttemptData`), without the number of the attempt.
    """
    kind = {"kind": message.kind} if message.kind in OWN_MAIL else {}
    return KINDS[name].trusted(
        f"{recipient_id}.{name}.{message.attempt}",
        recipient_id,
        account=message.account,
        time=time,
        data=AttemptData.trusted({"attempt": message.attempt, **kind, **data}),
    )


def cancelled(
    message: OutboundMessage, recipient_id: str, time: float, *, by: str, given: float
) -> Event:
    """Return the event of a message that `by` took back (at `given`) before it was delivered."""
    kind = {"kind": message.kind} if message.kind in OWN_MAIL else {}
    return happened(
        EventName.CANCELLED,
        recipient_id,
        time,
        {**kind, "by": by, "given": given},
        account=message.account,
        event_id=f"{recipient_id}.cancelled",
    )


def written(message: OutboundMessage, origin: str) -> Event:
    """Return the event that begins the record of mail Postroad wrote about the message `origin`."""
    recipient = message.recipients[0]
    return happened(
        EventName.ACCEPTED,
        recipient.id,
        message.received,
        {
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
        account=message.account,
        event_id=f"{recipient.id}.accepted",
    )


def notified(
    message: OutboundMessage, recipient_id: str, notification: str, outcome: str, time: float
) -> Event:
    """Return the event: the envelope sender is told (RFC 3464) by the mail `notification`."""
    return happened(
        EventName.NOTIFIED,
        recipient_id,
        time,
        {"outcome": outcome, "to": message.envelope, "notification": notification},
        account=message.account,
        event_id=f"{recipient_id}.notified.{notification}",
    )


def is_own_mail(event: Event) -> bool:
    """Tell whether the event is about mail that Postroad wrote itself."""
    return event.data.kind in OWN_MAIL


def happened(
    name: EventName,
    message: str,
    time: float,
    data: dict[str, Any],
    *,
    account: str = "",
    event_id: str | None = None,
) -> Event:
    """Return the event of anything else: a click, an opening, a bounce.

    Give an `event_id` where the cause has one.

    Raises:
        pydantic.ValidationError: `data` is not what such an event tells.
    """
    kind = KINDS[name]
    told = kind.tells.checked(data)
    return kind.trusted(event_id or new_id(time), message, account=account, time=time, data=told)
