"""Who may take a turn: an account has no more of them than are free for all others.

So however many slow end points some accounts have, the next account finds a turn at once.
"""

from collections import Counter


class TurnShares:
    """The turns of one process, by account."""

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self._held: Counter[str] = Counter()
        self._turned_away: set[str] = set()

    def enter(self, account: str) -> bool:
        """Take a turn for an account, if it may have one more; a single one is always taken."""
        held = self._held[account]
        if held and held >= self._turns - self._held.total():
            self._turned_away.add(account)
            return False
        self._held[account] += 1
        return True

    def leave(self, account: str) -> None:
        """Give a turn back; the account's others that were turned away may come."""
        self._turned_away.discard(account)
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]

    def is_crowded(self, account: str) -> bool:
        """Whether end points of the account wait for one of its turns to end."""
        return account in self._turned_away
