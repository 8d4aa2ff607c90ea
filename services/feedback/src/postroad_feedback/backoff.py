"""When a failed webhook call is tried again, and when no more.

A delivery has a schedule of its own. When call after call to an end point fails, the end point as
a whole rests, longer each time, and is then tried with a single delivery; so a dead one costs
little however much waits for it.
"""

import random

GIVE_UP_SECONDS = 3 * 86_400.0
RESTS_AFTER = 4
"""Failures in a row after which the end point rests."""
_SCHEDULE = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0)
_FIRST_REST = 5.0
_LONGEST_REST = 1800.0
_JITTER = 0.2


def _about(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)


def next_try(tries: int) -> float:
    """Seconds until a delivery is tried again that has failed `tries` times (at least once)."""
    return _about(_SCHEDULE[min(tries, len(_SCHEDULE)) - 1])


def rest(failures: int) -> float:
    """Seconds for which an end point rests after so many failures in a row; 0 for few."""
    if failures < RESTS_AFTER:
        return 0.0
    doublings = min(failures - RESTS_AFTER, 20)
    return _about(min(_LONGEST_REST, _FIRST_REST * 2**doublings))
