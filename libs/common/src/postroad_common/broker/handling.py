"""Running a handler until each delivery of a batch has ended, is held, or is no longer ours.

Trouble outside (`Transient`) holds the batch in this process, because putting it back would count
as a failed delivery. A handler that raises anything else is tried with each delivery alone, so
that one bad message takes nobody with it, and is set aside after three failures.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from postroad_common.broker.delivery import Delivery
from postroad_common.broker.inbox import Inbox
from postroad_common.broker.requeued import note_requeued
from postroad_common.errors import Transient
from postroad_common.mail.requeue import RequeueReason

FAILURES_ALLOWED = 3
HOLD_FIRST = 0.25  # seconds
HOLD_LONGEST = 10.0

Handler = Callable[[list[Delivery]], Awaitable[None]]
_log = structlog.get_logger("consumer")


class Handling:
    """One per consumer. With `ends_later`, deliveries may end after the handler has returned."""

    def __init__(
        self,
        queue: str,
        handler: Handler,
        inbox: Inbox,
        stop_called: asyncio.Event,
        *,
        ends_later: bool,
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._inbox = inbox
        self._stop_called = stop_called
        self._ends_later = ends_later

    async def run(self, batch: Sequence[Delivery]) -> None:
        """Run the handler with `batch`, again and again if need be."""
        pause, failures = HOLD_FIRST, 0
        while todo := [delivery for delivery in batch if self._is_ours(delivery)]:
            tries = {delivery: delivery.tries for delivery in todo}
            try:
                await self._handler(todo)
            except Transient as error:
                batch = await _without_late(_left(tries), error)
                note_requeued(
                    self._queue,
                    RequeueReason.DEPENDENCY_AWAY,
                    len(batch),
                    text=str(error),
                    seconds=pause,
                )
                if not await self._goes_on_after(pause * random.uniform(0.8, 1.2), batch):
                    return
                pause = min(HOLD_LONGEST, pause * 2)
            except Exception as error:  # noqa: BLE001 - one bad message must not stop the queue
                _log.exception("handler failed", queue=self._queue, messages=len(todo))
                batch = _left(tries)
                if len(batch) > 1:
                    await self._run_singly(batch)
                    return
                failures += 1
                if not await self._may_fail_again(batch, error, failures, pause):
                    return
            else:
                if not self._ends_later:
                    await self._retry_forgotten(_left(tries))
                return

    async def _run_singly(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            await self.run([delivery])

    async def _may_fail_again(
        self, batch: Sequence[Delivery], error: Exception, failures: int, pause: float
    ) -> bool:
        """Whether the one delivery in `batch` is tried again, after `pause` seconds."""
        if not batch:
            return False
        reason, text = RequeueReason.HANDLER_FAILED, f"handler failed: {error!r}"
        if failures < FAILURES_ALLOWED:
            note_requeued(self._queue, reason, text=text, seconds=pause)
            return await self._goes_on_after(pause, batch)
        try:
            await batch[0].dead(text)
        except Transient:
            await batch[0].retry(reason, text)
        return False

    async def _retry_forgotten(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            _log.error("the handler forgot a delivery", queue=self._queue)
            await delivery.retry(RequeueReason.HANDLER_FAILED, "the handler did not end it")

    def _is_ours(self, delivery: Delivery) -> bool:
        if delivery.stale and not delivery.ended:
            self._inbox.forget(delivery)
        return not delivery.ended and not delivery.stale

    async def _goes_on_after(self, seconds: float, batch: Sequence[Delivery]) -> bool:
        """Wait; if the consumer is stopped meanwhile, `batch` goes back with the channel."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop_called.wait(), seconds)
        if not self._stop_called.is_set():
            return True
        for delivery in batch:
            delivery.leave(RequeueReason.DRAIN)
        return False


async def _without_late(batch: list[Delivery], error: Transient) -> list[Delivery]:
    """Return those of `batch` that may wait here; others have ended that came together with them.

    These go back to their queue alone, so that the end of the others counts.
    """
    waiting = []
    for delivery in batch:
        if delivery.bundle is None or delivery.bundle.ended_at is None:
            waiting.append(delivery)
        else:
            await delivery.retry(RequeueReason.DEPENDENCY_AWAY, str(error))
    return waiting


def _left(tries: Mapping[Delivery, int]) -> list[Delivery]:
    """Return those that have neither ended nor been held since they had so many `tries`."""
    return [one for one, before in tries.items() if not one.ended and one.tries == before]
