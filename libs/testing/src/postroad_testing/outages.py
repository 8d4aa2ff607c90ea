"""A database that is away for a while, by a line to it that is held up."""

import re
from collections.abc import Awaitable, Callable

from postroad_common.errors import StoreAway


def direct(uri: str) -> str:
    """Return `uri` so that the client asks no member of the replica set for the others."""
    return re.sub(r"replicaSet=\w+", "directConnection=true", uri)


async def is_done(act: Callable[[], Awaitable[None]]) -> bool:
    """Try `act`; whether the database was there for it."""
    try:
        await act()
    except StoreAway:
        return False
    return True
