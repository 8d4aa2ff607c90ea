"""Keeps the claim on an Idempotency-Key while its request is worked on.

A claim that is not renewed belongs to a process that died: the next request with the key gets it.
Should the owner be alive after all, cut off from the database, what both submit has the same ids.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from postroad_common.errors import Transient
from postroad_common.store.idempotency import Idempotency

RENEW_SECONDS = 4.0
STALE_SECONDS = 15.0
"""Without a renewal for so long a claim is nobody's; the clocks of two hosts may differ by ten."""


@contextlib.asynccontextmanager
async def held(requests: Idempotency, account: str, key: str) -> AsyncIterator[None]:
    """Renew the claim until the block ends."""
    renewal = asyncio.create_task(_renew(requests, account, key))
    try:
        yield
    finally:
        renewal.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewal


async def _renew(requests: Idempotency, account: str, key: str) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with contextlib.suppress(Transient):  # while the database is away nobody else gets it
            await requests.renew(account, key)
