"""How a number is divided among those who want parts of it.

Only parts that are free are taken, and a part is free once it is no longer used; so all together
never exceed the number, however late somebody learns what others want. Those who want more than
there is get the same, and where it is too little for one each they take turns.
"""

from collections.abc import Mapping
from dataclasses import replace

from postroad_common.store.leases import Division

WISH_FOR = 15.0  # seconds after which a wish counts no more
_WISH_AGAIN = 5.0


def targets(most: int, wishes: Mapping[str, int], turn: int) -> dict[str, int]:
    """How much each should have: what it wishes, or else all the same.

    What does not go evenly goes to one after the other, in an order that changes with `turn`.
    """
    left, level = most, most
    for number, wish in enumerate(sorted(wishes.values())):
        level = left // (len(wishes) - number)
        if wish > level:
            break
        left -= wish
    found = {holder: min(wish, level) for holder, wish in wishes.items()}
    rest = most - sum(found.values())
    names = sorted(wishes)
    for number in range(len(names)):
        holder = names[(turn + number) % len(names)]
        if rest > 0 and found[holder] < wishes[holder]:
            found[holder] += 1
            rest -= 1
    return found


def divide(
    division: Division,
    mine: Mapping[str, tuple[int, int]],
    *,
    most: int,
    now: float,
    turn: int,
) -> tuple[Division, dict[str, int]]:
    """Return the division to write down, and what my holders may use until then.

    `mine` tells for each of my holders what it wishes and what it uses. Nobody's part but mine is
    changed, and mine grow only by what is free. Times are Unix seconds.
    """
    wanted = {
        holder: wish
        for holder, wish in division.wanted.items()
        if holder not in mine and wish[0] and wish[1] > now - WISH_FOR
    }
    wanted |= {holder: (wish, now) for holder, (wish, _) in mine.items() if wish}
    aims = targets(most, {holder: wish for holder, (wish, _) in wanted.items()}, turn)
    held = dict(division.held)
    usable: dict[str, int] = {}
    for holder, (_, used) in mine.items():
        has, aim = held.get(holder, 0), aims.get(holder, 0)
        usable[holder] = min(has, aim)
        if has > aim:
            held[holder] = min(has, max(used, aim))
    free = most - sum(held.values())
    for holder in mine:
        more = min(free, aims.get(holder, 0) - held.get(holder, 0))
        if more > 0:
            held[holder] = held.get(holder, 0) + more
            free -= more
    held = {holder: many for holder, many in held.items() if many}
    return replace(division, held=held, wanted=wanted), usable


def differs(old: Division, new: Division, mine: Mapping[str, tuple[int, int]], now: float) -> bool:
    """Whether there is something to write down."""
    if old.held != new.held:
        return True
    for holder in mine:
        before, wish = old.wanted.get(holder, (0, 0.0)), new.wanted.get(holder, (0, 0.0))
        if before[0] != wish[0] or (wish[0] and before[1] < now - _WISH_AGAIN):
            return True
    return False
