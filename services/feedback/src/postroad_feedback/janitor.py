"""Throws away what has had its time.

Events, messages and counters go by themselves (the database's TTL indexes); stored bodies must be
deleted by somebody.
"""

import time

from postroad_common.store.database import Database

ROUND_SECONDS = 60.0
_MOST_ROUNDS = 100


class Janitor:
    """One per replica; what two do at once is done once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> int:
        """Delete stored bodies that no message can need any more; return how many.

        Raises:
            StoreAway: the rest waits for the next round.
        """
        deleted = 0
        for _ in range(_MOST_ROUNDS):
            count = await self._database.bodies.purge(time.time())
            deleted += count
            if count == 0:
                break
        return deleted
