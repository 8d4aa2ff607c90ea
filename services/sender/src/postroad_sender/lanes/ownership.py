"""Which shards this process should own, and how they get there.

The broker gives each shard's queue to one consumer; every replica stands in line for every shard,
so a shard whose owner dies has another within a moment, with or without the database. Who *should*
own it follows from who is alive (`store.replicas`): a process that has a shard meant for another
one, which stands in line, lets it go. Without the database everything stays as it is.

A process knows that it owns a shard by having been given something from it. It probes at those
meant for it: a message without content, put into their queue.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from postroad_common.broker import Publisher
from postroad_common.errors import BrokerAway, StoreAway, Unroutable
from postroad_common.store.replicas import Replica, Replicas
from postroad_sender import metrics
from postroad_sender.delivery.job import Shard
from postroad_sender.timings import Timings

PROBE = "x-postroad-knock"
_AGAIN_AFTER = 4.0  # seconds before a shard is let go again
_SERVICE = "sender"

_log = structlog.get_logger("shards")


def assign(shards: Sequence[str], replicas: Sequence[str]) -> dict[str, str]:
    """Return an owner for each shard: the same everywhere, even, and little moved by change.

    Rendezvous hashing, where nobody gets more than a fair share.
    """
    if not replicas:
        return {}
    most = -(-len(shards) // len(replicas))
    pairs = sorted(
        (_weight(shard, replica), shard, replica) for shard in shards for replica in replicas
    )
    owners: dict[str, str] = {}
    loads = dict.fromkeys(replicas, 0)
    for _, shard, replica in pairs:
        if shard not in owners and loads[replica] < most:
            owners[shard] = replica
            loads[replica] += 1
    return owners


def _weight(shard: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{shard}/{replica}".encode(), digest_size=8).digest()


class Ownership:
    """One per process.

    `release` gives a shard away; `gained` is called when there are more of them.
    """

    def __init__(
        self,
        name: str,
        replicas: Replicas,
        *,
        publisher: Publisher,
        shards: Sequence[Shard],
        release: Callable[[Shard], Awaitable[None]],
        gained: Callable[[], Awaitable[None]],
        timings: Timings,
    ) -> None:
        self._heartbeat = timings.heartbeat
        self._settling = timings.settling
        self._name = name
        self._replicas = replicas
        self._publisher = publisher
        self._shards = {shard.name: shard for shard in shards}
        self._release = release
        self._gained = gained
        self._active: set[str] = set()
        self._alive: list[Replica] = []
        self._released_at: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()
        self.leaving = False
        self._beating = asyncio.Lock()

    async def run(self) -> None:
        """Say that this process is alive, take what is its own, let go what is not. For ever."""
        while not self.leaving:
            try:
                await self._beat()
            except StoreAway as error:
                _log.info("who else is alive is not known now", error=str(error))
            if not self.leaving:
                await self.reconcile()
            await asyncio.sleep(self._heartbeat)

    async def withdraw(self) -> None:
        """Tell the others that this process ends, so that they need not miss it first."""
        self.leaving = True
        try:
            async with self._beating:  # a beat that is under way would bring its record back
                await self._replicas.leave(self._name)
        except StoreAway as error:
            _log.info("the others learn later that this process ends", error=str(error))

    async def _beat(self) -> None:
        async with self._beating:
            if not self.leaving:
                holds = [shard.name for shard in self._shards.values() if _is_in_line(shard)]
                self._alive = await self._replicas.beat(_SERVICE, self._name, holds)

    async def reconcile(self) -> None:
        """One round of probing and letting go, by what is known of the others."""
        now = self._loop.time()
        owners = assign(list(self._shards), [replica.name for replica in self._alive])
        holds = {replica.name: replica.holds for replica in self._alive}
        active = {name for name, shard in self._shards.items() if shard.is_active}
        more, self._active = active - self._active, active
        metrics.OWNED.set(len(active))
        if more:
            _log.info("shards owned", more=sorted(more), all=len(active))
            try:
                await self._gained()
            except StoreAway as error:
                _log.info("what others have learnt is not known now", error=str(error))
        probes, leaving = [], []
        for name, shard in self._shards.items():
            owner = owners.get(name, self._name)
            if _is_in_line(shard) and not shard.is_active:
                # whoever it is meant for may be dead, and then the broker has given it to this one
                if owner == self._name or shard.is_settling(now, self._settling):
                    probes.append(name)
            elif (
                owner != self._name
                and shard.is_active
                and name in holds[owner]
                and now - self._released_at.get(name, 0.0) > _AGAIN_AFTER
            ):
                _log.info("shard let go", shard=name, owner=owner)
                self._released_at[name] = now
                leaving.append(shard)
        try:
            await asyncio.gather(
                *(self._publisher.publish("", name, b"", headers={PROBE: 1}) for name in probes),
                *(self._release(shard) for shard in leaving),
            )
        except (BrokerAway, Unroutable) as error:
            _log.info("probes could not be published", error=str(error))


def _is_in_line(shard: Shard) -> bool:
    return shard.consumer is not None and shard.consumer.is_attached and not shard.leaving
