"""What must be known of a message to record its events: whose it is, to whom it went, its tags.

The ingress tells it with the accepted event, the transformer once more; others (the tracker, the
sender) only know the message id. What was told lately is remembered, the rest is looked up, all of
a batch at once.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from postroad_common.caching import Cache
from postroad_common.schemas.eventdata import MessageFacts
from postroad_common.schemas.events import Event
from postroad_common.store.messages import MessageRecord

FindMany = Callable[[Iterable[str]], Awaitable[dict[str, MessageRecord]]]


@dataclass(frozen=True, slots=True)
class MessageInfo:
    """What is known of one message."""

    account: str
    recipient: str
    envelope: str
    tags: tuple[str, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    list: str = ""
    traceparent: str = ""
    received: float = 0.0
    test: bool = False


def info_in(event: Event) -> MessageInfo | None:
    """Return what an event tells of its message, if it does."""
    data = event.data
    if not event.account or not isinstance(data, MessageFacts) or not data.submission:
        return None
    return MessageInfo(
        account=event.account,
        recipient=data.recipient,
        envelope=data.envelope,
        tags=tuple(data.tags or ()),
        metadata=data.metadata,
        template=data.template,
        list=data.list,
        traceparent=data.traceparent,
        received=data.received,
        test=data.test,
    )


class MessageCache:
    """Finds what is known of messages; remembers those of the last `capacity` messages."""

    def __init__(self, find_many: FindMany, capacity: int = 50_000) -> None:
        self._find_many = find_many
        self._known: Cache[str, MessageInfo] = Cache(capacity)

    async def find(
        self, events: Iterable[Event], *, settle: bool = False
    ) -> Mapping[str, MessageInfo]:
        """Return what is known by message id; messages that nothing is known of yet are left out.

        With `settle` a record that only holds the account will do: nobody is going to tell more.

        Raises:
            StoreAway: the database is needed and away.
        """
        wanted: dict[str, MessageInfo | None] = {}
        for event in events:
            facts = info_in(event) or wanted.get(event.message) or self._known.peek(event.message)
            wanted[event.message] = facts
        missing = [message for message, facts in wanted.items() if facts is None]
        if missing:
            records = await self._find_many(missing)
            for message, record in records.items():
                if record.submission or settle:
                    wanted[message] = MessageInfo(
                        record.account,
                        record.recipient,
                        record.envelope,
                        record.tags,
                        record.metadata,
                        record.template,
                        record.list,
                        record.traceparent,
                        record.created,
                        record.test,
                    )
        found = {message: facts for message, facts in wanted.items() if facts is not None}
        for message, facts in found.items():
            self._known.put(message, facts)
        return found
