"""Queues in RabbitMQ as operators see them, and what they do with dead letters."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from postroad_common.broker.deadletters import DeadLetter, DeadLetters, Replayed
from postroad_common.broker.depths import QueueDepth, QueueDepths
from postroad_common.broker.topology import DEAD_QUEUES, QUEUES, WORK_QUEUES
from postroad_common.caching import Cache
from postroad_ingress_http.http.errors import ApiError, not_found

_log = structlog.get_logger(__name__)
_LATELY_SECONDS = 5.0
"""How old the depths on the overview may be, which many may look at."""
_KNOWN = frozenset(queue.name for queue in QUEUES)


class QueueOperations:
    """Looks at queues; replays and purges those that hold dead letters."""

    def __init__(self, depths: QueueDepths, dead_letters: DeadLetters) -> None:
        self._depths = depths
        self._dead_letters = dead_letters
        self._lately: Cache[str, list[QueueDepth]] = Cache(1, seconds=_LATELY_SECONDS)

    async def all(self) -> list[QueueDepth]:
        """Return all queues with the number of messages that wait in each."""
        return await self._depths.all()

    async def worked_on(self) -> list[QueueDepth]:
        """Return the queues that services read, and those of dead letters, as of late.

        Raises:
            BrokerAway: RabbitMQ cannot be asked.
        """
        known = self._lately.get("")
        if known is None:
            known = await self._depths.of((*DEAD_QUEUES, *WORK_QUEUES))
            self._lately.put("", known)
        return known

    async def find(self, name: str) -> QueueDepth:
        """Return the queue of that name.

        Raises:
            ApiError: 404.
        """
        for queue in QUEUES:
            if queue.name == name:
                return (await self._depths.of([queue]))[0]
        raise not_found("queue")

    async def look(self, name: str, limit: int) -> list[DeadLetter]:
        """Return the first `limit` dead letters, which stay where they are.

        Raises:
            ApiError: 404, or 409 for a queue without dead letters.
        """
        with _dead_only(name):
            return await self._dead_letters.look(name, limit)

    async def replay(self, name: str, limit: int, by: str) -> Replayed:
        """Put dead letters back into the queues they came from; `by` names the operator.

        Raises:
            ApiError: 404, or 409 for a queue without dead letters.
        """
        with _dead_only(name):
            done = await self._dead_letters.replay(name, limit)
        _log.warning(
            "dead letters put back", queue=name, by=by, count=done.replayed, left=done.left
        )
        return done

    async def purge(self, name: str, by: str) -> int:
        """Delete all dead letters of a queue and return their number; `by` names the operator.

        Raises:
            ApiError: 404, or 409 for a queue without dead letters.
        """
        with _dead_only(name):
            purged = await self._dead_letters.purge(name)
        _log.warning("dead letters thrown away", queue=name, by=by, count=purged)
        return purged


@contextmanager
def _dead_only(name: str) -> Iterator[None]:
    """Turn the refusal of a queue that has no dead letters into an ApiError: 404 or 409."""
    try:
        yield
    except KeyError:
        if name not in _KNOWN:
            raise not_found("queue") from None
        text = "This is for dead-letter queues only: a service works on what is in this one."
        raise ApiError(409, text) from None
