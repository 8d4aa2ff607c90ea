"""Checking the passwords of dashboard users: slow hashes, few at once, failures counted."""

import asyncio
import time
from collections.abc import Callable, Iterable

from postroad_common.secrets import DUMMY_HASH, verify_password
from postroad_common.store.users import User, Users
from postroad_common.tokenbucket import TokenBuckets
from postroad_ingress_http.http.rates import look, take, too_many

_LONGEST_PASSWORD = 1024
_LONGEST_NAME = 320
_AT_ONCE = 2  # argon2 is meant to be slow; leave the rest of the machine alone


class PasswordCheck:
    """Finds the user of a name and a password; bounds failures by address and by name."""

    def __init__(
        self, users: Users, failures: TokenBuckets[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._users = users
        self._failures = failures
        self._clock = clock
        self._hashing = asyncio.Semaphore(_AT_ONCE)

    async def find(self, email: str, password: str, address: str) -> User | None:
        """Return the user; None when name or password are wrong.

        Raises:
            ApiError: 429, the address or the name has failed too often.
        """
        keys = (f"address {address}", f"name {email.lower()[:_LONGEST_NAME]}")
        user = await self._users.find(email) if email else None
        stored = user.password_hash if user else DUMMY_HASH
        async with self._hashing:
            # In here, so that attempts made at once cannot all pass before the first has failed.
            self._refuse_beyond_bound(keys)
            right = await asyncio.to_thread(verify_password, stored, password[:_LONGEST_PASSWORD])
            if user is None or not right:
                for key in keys:
                    take(self._failures, key, self._clock())
                return None
        return user

    def _refuse_beyond_bound(self, keys: Iterable[str]) -> None:
        for key in keys:
            failures = look(self._failures, key, self._clock())
            if failures.retry_after:
                raise too_many(failures, "failed log-ins")
