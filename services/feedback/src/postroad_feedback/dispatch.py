"""Posts what is in the outbox: one turn per end point, each on its own.

A turn (a lease, `outbox`) belongs to one replica at a time. It calls as long as calls succeed; when
they fail it rests (`health`), and after three days without any success the end point is disabled.
How many events a call has is in `batchsize`, how turns are shared among accounts in `shares`.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence

import structlog

from postroad_common.errors import StoreAway
from postroad_common.mail.identifiers import new_id
from postroad_common.store.deliveries import DeliveryState, Result, Try, WebhookDelivery
from postroad_common.store.outbox import Outbox
from postroad_common.store.turns import Turn
from postroad_common.store.webhooks import Webhook, Webhooks
from postroad_common.tasks import BackgroundTasks
from postroad_feedback import backoff, metrics
from postroad_feedback.batching import Call, batch
from postroad_feedback.batchsize import BatchSize
from postroad_feedback.calls import CONCURRENCY, Caller, CallResult, EndpointLine
from postroad_feedback.health import EndPointHealth
from postroad_feedback.shares import TurnShares

LEASE_SECONDS = 60.0
"""Longer than a round and its last calls take, so a lease is only lost with its process."""
_ROUND_SECONDS = 30.0
_POLL_SECONDS = 1.0
_ROUND = 64
_CROWDED_SECONDS = 10.0
"""For how long a turn goes on when other end points of its account wait for one."""
_YIELD_SECONDS = 0.5
_MOST_EVENTS = 2000
"""Deliveries of an end point in memory at once."""
_GONE = 410

_log = structlog.get_logger("webhooks")


class WebhookDispatcher:
    """Serves end points, at most `turns` at once."""

    def __init__(
        self, outbox: Outbox, webhooks: Webhooks, caller: Caller, *, turns: int = 64
    ) -> None:
        self._outbox = outbox
        self._webhooks = webhooks
        self._caller = caller
        self._owner = new_id()
        self._free = asyncio.Semaphore(turns)
        self._shares = TurnShares(turns)
        self._notified = asyncio.Event()
        # The lease of a turn cut short runs out; calls that could not be noted are made again.
        self._serving = BackgroundTasks("turn", expected=(StoreAway,))
        self._stopping = False

    def notify(self) -> None:
        """There is something in the outbox."""
        self._notified.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            try:
                while not self._stopping and await self._next_turn():
                    pass
            except StoreAway as error:
                _log.warning("put off", reason=str(error))
            self._notified.clear()
            try:
                await asyncio.wait_for(
                    self._notified.wait(), _POLL_SECONDS * random.uniform(0.8, 1.2)
                )
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Take no more turns; return when the calls on their way have ended."""
        self._stopping = True
        await self._serving.join()

    async def _next_turn(self) -> bool:
        await self._free.acquire()
        turn = None
        try:
            turn = await self._outbox.turns.take(self._owner, time.time(), LEASE_SECONDS)
        finally:
            if turn is None:
                self._free.release()
        if turn is None:
            return False
        serving = self._serving.spawn(self._serve(turn), f"webhook-{turn.webhook}")
        serving.add_done_callback(lambda _: self._free.release())
        return True

    async def _serve(self, turn: Turn) -> None:
        webhook = await self._webhooks.find(turn.webhook)
        if webhook is None or webhook.disabled:
            await self._outbox.give_up(turn.webhook)
            return
        if not self._shares.enter(webhook.account):
            health = EndPointHealth(turn.failures, turn.failing_since)
            health.hold = time.time() + _YIELD_SECONDS
            await self._end(turn, health, turn.batch)
            return
        try:
            await self._post(turn, webhook)
        finally:
            self._shares.leave(webhook.account)

    async def _post(self, turn: Turn, webhook: Webhook) -> None:
        """Post what is due, as long as the end point takes it."""
        health = EndPointHealth(turn.failures, turn.failing_since)
        size = BatchSize(webhook.batch_size, turn.batch)
        ends = time.monotonic() + _CROWDED_SECONDS
        async with self._caller.line(webhook) as line:
            while not self._stopping and health.hold <= time.time():
                if self._shares.is_crowded(webhook.account) and time.monotonic() > ends:
                    health.hold = time.time() + _YIELD_SECONDS  # the others have theirs first
                    break
                now = time.time()
                calls = await self._due_calls(webhook, now, size, probing=health.failures > 0)
                if not calls or not await self._outbox.turns.keep(turn, now, LEASE_SECONDS):
                    break
                await self._outbox.note(await self._call_all(webhook, line, calls, health, size))
        if health.is_hopeless(time.time()):
            await self._disable(webhook, health.verdict)
            return
        await self._end(turn, health, size.learned)

    async def _end(self, turn: Turn, health: EndPointHealth, batch: int | None) -> None:
        await self._outbox.turns.end(
            turn,
            hold=health.hold,
            failures=health.failures,
            failing_since=health.failing_since,
            batch=batch,
        )

    async def _due_calls(
        self, webhook: Webhook, now: float, batch_size: BatchSize, *, probing: bool
    ) -> list[Call]:
        """Return the calls whose time has come; one if `probing` whether the end point is back."""
        size = batch_size.events
        horizon = now
        if webhook.batch_size > 1:
            # What is due soon travels with what is due now.
            horizon += webhook.batch_seconds
        limit = size if probing else min(max(_ROUND, size * CONCURRENCY), _MOST_EVENTS)
        due = await self._outbox.due(webhook.id, horizon, limit)
        if not due or due[0].due > now:
            return []
        calls = batch(due, size)
        return calls[:1] if probing else calls

    async def _call_all(
        self,
        webhook: Webhook,
        line: EndpointLine,
        calls: Sequence[Call],
        health: EndPointHealth,
        size: BatchSize,
    ) -> list[Result]:
        """Make `calls`, some at once; stop where the end point shows to be away.

        Calls that are larger than what it has shown to take are left for the next round.
        """
        waiting = list(reversed(calls))
        results: list[Result] = []

        deadline = time.monotonic() + _ROUND_SECONDS

        async def work() -> None:
            while waiting and time.monotonic() < deadline:
                if self._stopping or health.hold > time.time():
                    return
                call = waiting.pop()
                events = len(call.deliveries)
                if events > size.events:
                    continue
                answer = await line.call(call)
                too_large = size.take(answer, events)
                health.take(answer, time.time(), too_large=too_large)
                results.extend(_results(call, answer, time.time(), too_large=too_large))
                if call.deliveries[0].event == "verification":
                    await self._check_ownership(webhook, call.deliveries[0], answer)

        await asyncio.gather(*(work() for _ in range(min(CONCURRENCY, len(waiting)))))
        return results

    async def _check_ownership(
        self, webhook: Webhook, delivery: WebhookDelivery, answer: CallResult
    ) -> None:
        challenge = json.loads(delivery.body)["data"].get("challenge")
        if not answer.succeeded or not challenge or challenge not in answer.text:
            return
        now = await self._webhooks.find(webhook.id)
        if now is not None and now.url == webhook.url:  # the one that was asked
            await self._webhooks.update(webhook.account, webhook.id, {"verified": time.time()})

    async def _disable(self, webhook: Webhook, reason: str) -> None:
        metrics.DISABLED.inc()
        _log.warning("webhook disabled", webhook=webhook.id, reason=reason)
        await self._webhooks.update(
            webhook.account, webhook.id, {"disabled": True, "reason": reason}
        )
        await self._outbox.give_up(webhook.id)


def _results(call: Call, answer: CallResult, now: float, *, too_large: bool) -> list[Result]:
    """Return what became of each event of the call; those to be tried again stay together.

    Events of a call that was too large are due at once, and it is none of their tries.
    """
    attempt = Try(
        time=now,
        status=answer.status,
        error=answer.error,
        seconds=round(answer.seconds, 3),
        answer=answer.text[:500],
    )
    if answer.succeeded:
        return [Result(item.id, attempt, DeliveryState.DELIVERED, now) for item in call.deliveries]
    tries = min(item.tries for item in call.deliveries) + 1
    pause = 0.0 if too_large else backoff.next_try(tries)
    due = now + max(pause, answer.retry_after or 0.0)
    return [
        Result(item.id, attempt, DeliveryState.FAILED, now)
        if answer.status == _GONE or due - item.since >= backoff.GIVE_UP_SECONDS
        else Result(item.id, attempt, DeliveryState.PENDING, due, counts=not too_large)
        for item in call.deliveries
    ]
