"""Deliveries of webhooks as records: one for each event and end point, with its tries."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from postroad_common.store.access import Document, to_date


class DeliveryState(StrEnum):
    """How far a delivery has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Try:
    """One request: when (Unix seconds), the status or else the error, how long (seconds)."""

    time: float
    status: int | None
    error: str
    seconds: float
    answer: str = ""


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One event for one end point. `body` is the exact JSON that is posted; times in seconds."""

    id: str
    webhook: str
    account: str
    event: str
    message: str
    body: str
    created: float
    due: float
    state: DeliveryState = DeliveryState.PENDING
    since: float = 0.0
    """When it began to be tried: as it was created, or replayed last."""
    tries: int = 0
    log: tuple[Try, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a try: the new state and, while pending, when it is due again.

    `counts` says whether it is one of the delivery's tries: not if only its batch was too large.
    """

    delivery: str
    attempt: Try
    state: DeliveryState
    due: float
    counts: bool = True


def write(delivery: WebhookDelivery) -> Document:
    """Return the document of a delivery that is new."""
    return {
        "_id": delivery.id,
        "webhook": delivery.webhook,
        "account": delivery.account,
        "event": delivery.event,
        "message": delivery.message,
        "body": delivery.body,
        "created": delivery.created,
        "due": delivery.due,
        "state": str(delivery.state),
        "since": delivery.since or delivery.created,
        "tries": delivery.tries,
        "log": [],
        "at": to_date(delivery.created),
    }


def read(found: Document) -> WebhookDelivery:
    """Return the delivery in a document."""
    return WebhookDelivery(
        id=found["_id"],
        webhook=found["webhook"],
        account=found["account"],
        event=found["event"],
        message=found["message"],
        body=found["body"],
        created=found["created"],
        due=found["due"],
        state=DeliveryState(found["state"]),
        since=found["since"],
        tries=found["tries"],
        log=tuple(Try(**entry) for entry in found.get("log", ())),
    )


def write_try(attempt: Try) -> dict[str, Any]:
    """Return a try as it is kept with its delivery."""
    return {
        "time": attempt.time,
        "status": attempt.status,
        "error": attempt.error,
        "seconds": attempt.seconds,
        "answer": attempt.answer,
    }
