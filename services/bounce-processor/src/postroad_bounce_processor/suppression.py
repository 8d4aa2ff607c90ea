"""When an address goes on the suppression list of an account.

    hard bounce   at once, for half a year; for thirty days if the domain is the reason,
                  because domains that lapse are often renewed
    complaint     at once, for good
    soft bounces  on three different days, the first and last a week apart, and nothing delivered
                  in between; for thirty days

Hard and soft speak of the mailbox only: a mail refused for its content, its sender or its rate
never counts (the classification says which classes do).
"""

from collections.abc import Collection

from postroad_common.mail.classification import Classification

DAY = 86_400.0  # seconds
HARD_LIFE = 180 * DAY
SOFT_LIFE = 30 * DAY
SOFT_DAYS = 3
SOFT_SPAN = 7 * DAY
SOFT_MEMORY = 30 * DAY


def hard_life(classification: Classification) -> float:
    """Return for how many seconds a hard bounce of this class suppresses."""
    return SOFT_LIFE if classification is Classification.NO_SUCH_DOMAIN else HARD_LIFE


def day_of(moment: float) -> int:
    """Return the day (UTC, counted from 1970) of a Unix time."""
    return int(moment // DAY)


def is_persistent(days: Collection[int], now: float) -> bool:
    """Tell whether soft bounces on these days mean that the mailbox stays ill."""
    recent = [day for day in days if day > day_of(now - SOFT_MEMORY)]
    return len(set(recent)) >= SOFT_DAYS and (max(recent) - min(recent)) * DAY >= SOFT_SPAN
