"""How events change the record of their message.

Changes commute and repeat without harm: the state is the highest rank seen, facts are set to what
they always are, counts are maxima. So it does not matter in which order, or how often, events
arrive.
"""

from collections.abc import Iterable

from pymongo import UpdateOne

from postroad_common.mail.messageid import dated
from postroad_common.schemas.eventdata import AttemptData, MessageFacts
from postroad_common.schemas.events import Event, EventName
from postroad_common.store.access import Document, to_date
from postroad_common.store.searching import RANKS, terms_of

FACTS = (
    *("submission", "credential", "source", "envelope", "sender", "recipient", "notify", "orcpt"),
    *("ret", "envid", "features", "forward_bounces", "tags", "metadata", "list", "traceparent"),
    *("template", "subject", "size", "expires", "body", "test"),
)
"""The parts of an accepted event's data that describe the message."""


def _rank(event: Event) -> int:
    match event.event:
        case EventName.ACCEPTED:
            return RANKS["accepted"]
        case EventName.TRANSFORMED:
            return RANKS["queued"]
        case EventName.DEFERRED:
            return RANKS["deferred"]
        case EventName.DELIVERED:
            return RANKS["delivered"]
        case EventName.FAILED:
            over = isinstance(event.data, AttemptData) and event.data.expired
            return RANKS["expired" if over else "failed"]
        case EventName.BOUNCED:
            # A report of a delay says nothing final, and a soft bounce still is one.
            return RANKS["bounced"]
        case EventName.SUPPRESSED:
            return RANKS["suppressed"]
        case EventName.CANCELLED:
            return RANKS["cancelled"]
        case EventName.TESTED:
            return RANKS["tested"]
        case _:
            return 0


class RecordChange:
    """What the events of one batch change in one record. `facts` are those of the message."""

    __slots__ = (
        "account",
        "attempts",
        "complained",
        "created",
        "facts",
        "message_id",
        "provider",
        "rank",
        "updated",
    )

    def __init__(self) -> None:
        self.account = ""
        self.facts: Document = {}
        self.message_id = 0
        self.provider: str | None = None
        self.rank = 0
        self.attempts = 0
        self.complained = False
        self.created: float | None = None
        self.updated = 0.0

    def take(self, event: Event) -> None:
        """Take up what `event` tells."""
        self.account = self.account or event.account
        self.rank = max(self.rank, _rank(event))
        self.updated = max(self.updated, event.time)
        self.complained = self.complained or event.event is EventName.COMPLAINED
        data = event.data
        if isinstance(data, MessageFacts):
            told = data.facts
            if not self.facts:
                self.facts = {key: told[key] for key in FACTS if key in told}
            if "received" in told:
                self.created = data.received
                if hashed := told.get("message_id_hash"):
                    self.message_id = dated(hashed, data.received)
        elif isinstance(data, AttemptData) and data.attempt is not None:
            self.attempts = max(self.attempts, data.attempt + 1)
            if event.event is EventName.DELIVERED:
                self.provider = data.provider

    def document(self, message_id: str) -> Document:
        """Return the record, where there is none yet."""
        return {"_id": message_id, **self._values(with_facts=True), **self._maxima(), **self._at()}

    def operation(self, message_id: str, *, with_facts: bool) -> UpdateOne:
        """Return the update; `with_facts` where the record may not have them."""
        update: Document = {"$max": self._maxima(), "$min": self._at()}
        if values := self._values(with_facts=with_facts):
            update["$set"] = values
        return UpdateOne({"_id": message_id}, update, upsert=True)

    def _values(self, *, with_facts: bool) -> Document:
        values: Document = {}
        if with_facts:
            values |= self.facts
            if self.account:
                values["account"] = self.account
            if self.created is not None:
                values["created"] = self.created
            if self.message_id:
                values["message_id"] = self.message_id
            if "recipient" in values:
                values["terms"] = terms_of(values)
        if self.provider:
            values["provider"] = self.provider
        if self.complained:
            values["complained"] = True
        return values

    def _maxima(self) -> Document:
        maxima: Document = {"rank": self.rank, "updated": self.updated}
        if self.attempts:
            maxima["attempts"] = self.attempts
        return maxima

    def _at(self) -> Document:
        return {"at": to_date(self.created or self.updated)}


def changes_by(events: Iterable[Event]) -> dict[str, RecordChange]:
    """Return what `events` change, by message id."""
    changes: dict[str, RecordChange] = {}
    for event in events:
        changes.setdefault(event.message, RecordChange()).take(event)
    return changes
