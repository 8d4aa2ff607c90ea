"""What must be known of a message to record its events: whose it is, to whom it went, its tags.

The ingress tells it with the accepted event, the transformer once more; others (the tracker, the
sender) only know the message id. What was told lately is remembered, the rest is looked up, all of
a batch at once.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from postroad_common.caching import Cache
from postroad_common.schemas.eventdata import (
    OTHER_PROVIDER,
    MessageFacts,
    ReturnData,
    VisitData,
)
from postroad_common.schemas.events import Delivered, Event
from postroad_common.store.messages import MessageRecord

DASHBOARD = "dashboard"
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
    login: str = ""
    sender: str = ""
    provider: str = ""
    """Who runs the servers that took it; empty where that is not known, or not yet."""


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
        login=_login(data.source, data.credential),
        sender=data.sender,
    )


def _login(source: str, credential: str) -> str:
    """Return the name of a login or token; what users of the dashboard send is together."""
    return DASHBOARD if source == "rest" and "@" in credential else credential


def _info_of(record: MessageRecord) -> MessageInfo:
    provider = record.provider
    if not provider and record.state in {"delivered", "bounced"}:
        provider = OTHER_PROVIDER  # it was delivered before providers were told
    return MessageInfo(
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
        _login(record.source, record.credential),
        record.sender,
        provider,
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
        providers: dict[str, str] = {}
        followed: set[str] = set()  # by what happens after the delivery
        for event in events:
            message = event.message
            facts = wanted.get(message) or self._known.peek(message)
            told = info_in(event)
            if told is not None:
                facts = told if facts is None else replace(told, provider=facts.provider)
            wanted[message] = facts
            if isinstance(event.data, VisitData | ReturnData):
                followed.add(message)
            elif isinstance(event, Delivered):
                providers[message] = event.data.provider or OTHER_PROVIDER
        missing = [
            message
            for message, facts in wanted.items()
            if facts is None
            or (message in followed and message not in providers and not facts.provider)
        ]
        if missing:
            records = await self._find_many(missing)
            for message, record in records.items():
                if record.submission or settle:
                    wanted[message] = _info_of(record)
        found = {message: facts for message, facts in wanted.items() if facts is not None}
        for message in providers.keys() & found.keys():
            found[message] = replace(found[message], provider=providers[message])
        for message, facts in found.items():
            self._known.put(message, facts)
        return found
