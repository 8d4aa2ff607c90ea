"""DKIM keys from pending to retired: a key signs once its record was seen, never before. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from postroad_common.store.domains import DkimKey, KeyState

PUBLISHED_SECONDS = 7 * 86_400.0
"""How long the record of a replaced key stays needed: mail signed with it is still on its way."""


def advance(
    keys: Iterable[DkimKey], statuses: Mapping[str, str], now: float
) -> tuple[DkimKey, ...]:
    """Return the keys after DNS was asked; `statuses` are those of their records.

    A pending key whose record is right becomes active, and older active ones of its algorithm
    retire; retired ones are dropped in the end.
    """
    found = [_seen(key, statuses, now) for key in keys]
    newest = {
        algorithm: max(
            (key.created for key in found if key.algorithm == algorithm and key.state == "active"),
            default=0.0,
        )
        for algorithm in {key.algorithm for key in found}
    }
    aged = [
        replace(key, state="retired", retires=now + PUBLISHED_SECONDS)
        if key.state == "active" and key.created < newest[key.algorithm]
        else key
        for key in found
    ]
    return tuple(key for key in aged if not is_over(key, now))


def renew(
    keys: Iterable[DkimKey], fresh: Iterable[DkimKey], now: float, *, active: bool
) -> tuple[DkimKey, ...]:
    """Return the keys with `fresh` ones beside them, instead of those that are still pending.

    With `active` they sign at once, as the operator takes care of their records.
    """
    kept = [key for key in keys if key.state != "pending"]
    state: KeyState = "active" if active else "pending"
    added = [replace(key, state=state) for key in fresh]
    return advance([*kept, *added], {}, now)


def is_over(key: DkimKey, now: float) -> bool:
    """Whether a retired key's record is needed no longer."""
    return key.state == "retired" and key.retires is not None and key.retires <= now


def _seen(key: DkimKey, statuses: Mapping[str, str], now: float) -> DkimKey:
    if statuses.get(f"dkim {key.selector}") != "ok":
        return key
    state = "active" if key.state == "pending" else key.state
    return replace(key, state=state, seen=key.seen or now)
