"""Daily log files, read from the event log as they are written out."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, timedelta

from postroad_common.store.events import Events
from postroad_common.store.indexes import RETENTION
from postroad_common.store.messages import Messages
from postroad_common.store.rollups import Rollups
from postroad_ingress_http.exports.columns import LogKind, Record

PAGE = 500
_DAYS = RETENTION // 86_400


class LogFiles:
    """Knows the days that have files, and reads the records of each file."""

    def __init__(
        self, events: Events, messages: Messages, rollups: Rollups, clock: Callable[[], float]
    ) -> None:
        self._events = events
        self._messages = messages
        self._rollups = rollups
        self._clock = clock

    async def days(self, account: str) -> list[str]:
        """Return the dates (UTC) on which anything happened, oldest first."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        first = today - timedelta(days=_DAYS)
        return [item.day for item in await self._rollups.read(account, str(first), str(today))]

    async def pages(
        self, account: str, kind: LogKind, day: date
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield the records of a file in the order of time, some hundreds at once.

        Tests have none, so that a file has as many as the counters say.

        Raises:
            StoreAway: the rest cannot be read now.
        """
        start = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        end = start + 86_400
        position: tuple[float, str] = (start, "")
        while True:
            events = await self._events.since(
                account, position, end, names=(str(kind.event),), limit=PAGE
            )
            messages = await self._messages.find_many({event.message for event in events})
            if events:
                yield [
                    kind.record(event, message)
                    for event in events
                    if (message := messages.get(event.message)) is None or not message.test
                ]
            if len(events) < PAGE:
                return
            position = (events[-1].time, events[-1].id)
