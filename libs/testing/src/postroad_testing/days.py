"""Midnight UTC, which tests that count by days keep clear of."""

import time
from datetime import UTC, date, datetime

from postroad_testing.waiting import until

DAY_SECONDS = 86_400
ROOM = 80.0
"""Seconds that a test which counts by days may need, on a busy machine too."""


async def day_with_room(seconds: float = ROOM) -> date:
    """Return today (UTC) with `seconds` left of it at least; just before midnight it is a wait."""
    begun = time.time()
    if DAY_SECONDS - begun % DAY_SECONDS < seconds:
        await until(lambda: time.time() // DAY_SECONDS > begun // DAY_SECONDS, seconds + 10)
    return datetime.now(UTC).date()
