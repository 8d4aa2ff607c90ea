"""How soon a domain's records are looked for again. Pure; all times in seconds."""

from collections.abc import Iterable

from postroad_common.store.domains import DkimKey, SenderDomain

SOON = 300.0
HOURLY = 3600.0
SETTLED = 6 * 3600.0
DAILY = 86_400.0


def next_check(
    domain: SenderDomain, keys: Iterable[DkimKey], now: float, *, verified: bool
) -> float:
    """Return the seconds until the next check.

    Where something is waited for, checks are frequent on the first day and daily after a week.
    """
    pending = [key.created for key in keys if key.state == "pending"]
    if verified and not pending:
        return SETTLED
    age = now - max(pending, default=domain.created)
    return SOON if age < DAILY else HOURLY if age < 7 * DAILY else DAILY
