"""How much is fetched at once, in all and for one account: mails that wait, downloads, octets.

An account that names slow or large files waits for itself; the others have places left.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from postroad_ingress_http.fetching.errors import FileTooLargeError, NoRoomError

MAILS_OF_ACCOUNT = 64
DOWNLOADS = 64
DOWNLOADS_OF_ACCOUNT = 8
_TOO_MANY = "This account has too many files fetched at once; try again soon."
_FULL = "Too many files are being fetched; try again soon."


class _AccountQueue:
    """The downloads of an account, at work or waiting."""

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(DOWNLOADS_OF_ACCOUNT)
        self.length = 0


class FetchPlaces:
    """The places of one process; files may hold `octets` of memory, an account a third of it."""

    def __init__(self, octets: int) -> None:
        self._octets = octets
        self._held_by_all = 0
        self._held: Counter[str] = Counter()
        self._mails: Counter[str] = Counter()
        self._downloads = asyncio.Semaphore(DOWNLOADS)
        self._queues: dict[str, _AccountQueue] = {}

    @contextmanager
    def mail(self, account: str) -> Iterator[None]:
        """Hold a place for a mail whose files are wanted.

        Raises:
            NoRoomError: the account has as many as it may.
        """
        if self._mails[account] >= MAILS_OF_ACCOUNT:
            raise NoRoomError(_TOO_MANY, busy_account=True)
        self._mails[account] += 1
        try:
            yield
        finally:
            self._mails[account] -= 1
            if not self._mails[account]:
                del self._mails[account]

    @asynccontextmanager
    async def download(self, account: str) -> AsyncIterator[None]:
        """Hold the place of one download, when its turn has come."""
        queue = self._queues.setdefault(account, _AccountQueue())
        queue.length += 1
        try:
            async with queue.places, self._downloads:
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[account]

    def hold(self, account: str, octets: int) -> None:
        """Note that `octets` more are in memory.

        Raises:
            NoRoomError: they would be too many.
        """
        if self._held[account] + octets > self._octets // 3:
            raise NoRoomError(_TOO_MANY, busy_account=True)
        if self._held_by_all + octets > self._octets:
            raise NoRoomError(_FULL, busy_account=False)
        self._held[account] += octets
        self._held_by_all += octets

    def release(self, account: str, octets: int) -> None:
        """Note that `octets` are gone."""
        self._held_by_all -= octets
        self._held[account] -= octets
        if not self._held[account]:
            del self._held[account]


class Allowance:
    """The octets that some files may have together; what they have is held until `release`."""

    def __init__(self, places: FetchPlaces, account: str, most: int) -> None:
        self._places = places
        self._account = account
        self._most = most
        self._taken = 0

    def expect(self, octets: int) -> None:
        """Check that so many more are allowed, before the first of them comes.

        Raises:
            FileTooLargeError: they are not.
        """
        if self._taken + octets > self._most:
            raise FileTooLargeError(f"The files have more than {self._most} bytes.")

    def take(self, octets: int) -> None:
        """Hold so many more.

        Raises:
            FileTooLargeError: they are too many for a mail.
            NoRoomError: they are too many now.
        """
        self.expect(octets)
        self._places.hold(self._account, octets)
        self._taken += octets

    def release(self) -> None:
        """Let go of all that is held."""
        self._places.release(self._account, self._taken)
        self._taken = 0
