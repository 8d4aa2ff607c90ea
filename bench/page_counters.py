"""Counters for the bench of pages: of hours and days, with as many parts and tags as there may be.

A day has the sums of its hours where these are kept, as feedback counts them.
"""

import random
from collections import Counter
from collections.abc import Iterator

from postroad_common.mail.identifiers import new_id
from postroad_common.store.database import Database
from postroad_common.store.rollupparts import (
    DOMAIN,
    LOGIN,
    PROVIDER,
    TAG,
    TAGGED,
    WHOLE,
    MailPart,
)
from postroad_common.store.rollups import RollupKey, hour_of

ACCOUNT = "main"
DAYS = 30
"""Days in which the messages were sent."""
_DAYS_COUNTED = 400
_HOURS_COUNTED = 14 * 24
_PARTS = 20
_MOST_TAGS = 200
_TAGS_OF_DAY = 200
_DAY = 86_400


async def fill_counters(database: Database, count: int, now: float) -> None:
    """Write the counters of `count` messages in `DAYS` days, and as many in the days before."""
    hours = {
        RollupKey(ACCOUNT, hour_of(now - hour * 3600), "", part): _numbers(mails)
        for hour in range(_HOURS_COUNTED)
        for part, mails in (*_parts(count // (DAYS * 24)), *_tags(count // (DAYS * 24)))
    }
    await database.hours.add(new_id(), hours)
    sums: dict[RollupKey, Counter[str]] = {}
    for key, numbers in hours.items():
        sums.setdefault(key._replace(day=key.day[:10]), Counter()).update(numbers)
    of_hours = {key.day for key in sums}
    for day in (hour_of(now - number * _DAY)[:10] for number in range(_DAYS_COUNTED)):
        if day not in of_hours:
            divided = (*_parts(count // DAYS), *_tags(count // DAYS))
            sums |= {RollupKey(ACCOUNT, day, "", part): _numbers(mails) for part, mails in divided}
        for number in range(_TAGS_OF_DAY):
            sums[RollupKey(ACCOUNT, day, f"t{number}")] = _numbers(count // DAYS)
    sums |= {
        key._replace(part=TAGGED): numbers
        for key, numbers in sums.items()
        if key.part == WHOLE and not key.tag
    }
    await database.rollups.add(new_id(), sums)


def _parts(mails: int) -> Iterator[tuple[MailPart, int]]:
    """Yield all mail, and its parts: 20 logins, 20 sender domains, 20 providers."""
    yield WHOLE, mails
    for number in range(_PARTS):
        yield MailPart(LOGIN, f"login{number}"), mails // _PARTS
        yield MailPart(DOMAIN, f"shop{number}.example"), mails // _PARTS
        yield MailPart(PROVIDER, f"provider{number}"), mails // _PARTS


def _tags(mails: int) -> Iterator[tuple[MailPart, int]]:
    """Yield the tags as parts: 200, which is as many as there may be."""
    for number in range(_MOST_TAGS):
        yield MailPart(TAG, f"t{number}"), mails // _MOST_TAGS


def _numbers(mails: int) -> Counter[str]:
    some = random.Random(mails)
    mails = max(1, mails + some.randint(-mails // 5, mails // 5))
    return Counter(
        accepted=mails, delivered=mails * 98 // 100, failed=mails * 2 // 100,
        deferred=mails // 10, deferred_unique=mails // 20, bounced=mails // 200,
        bounced_hard=mails // 400, bounced_soft=mails // 400, opened=mails // 3,
        opened_unique=mails // 5, opened_machine=mails // 9, clicked=mails // 20,
        clicked_unique=mails // 25, clicked_machine=mails // 50, complained=mails // 3000,
    )  # fmt: skip
