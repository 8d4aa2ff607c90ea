"""Checking the passwords of dashboard users: slow hashes, few at once, failures bounded.

Each try takes a place first and gives it back on success, so tries made at once pass no bound.
An address that a user has come from before has places of its own for that user: whoever guesses
from elsewhere slows down themselves, not the owner.
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from postroad_common.secrets import DUMMY_HASH, verify_password
from postroad_common.store.users import User, Users
from postroad_common.tokenbucket import TokenBuckets
from postroad_ingress_http.http.rates import give_back, take, too_many

_LONGEST_PASSWORD = 1024
_LONGEST_NAME = 320
_AT_ONCE = 2  # argon2 is meant to be slow; leave the rest of the machine alone
_V6_PREFIX = 64


class PasswordCheck:
    """Finds the user of a name and a password; bounds failures by address and by name."""

    def __init__(
        self, users: Users, failures: TokenBuckets[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._users = users
        self._failures = failures
        self._clock = clock
        self._hashing = {known: asyncio.Semaphore(_AT_ONCE) for known in (True, False)}

    async def find(self, email: str, password: str, address: str) -> User | None:
        """Return the user; None when name or password are wrong.

        Raises:
            ApiError: 429, the address or the name has failed too often.
        """
        user = await self._users.find(email) if email else None
        with self.trying(user, email, address) as succeeded:
            stored = user.password_hash if user else DUMMY_HASH
            async with self._hashing[_is_known(user, address)]:
                right = await asyncio.to_thread(
                    verify_password, stored, password[:_LONGEST_PASSWORD]
                )
            if user is None or not right:
                return None
            succeeded()
        return user

    @contextmanager
    def trying(self, user: User | None, name: str, address: str) -> Iterator[Callable[[], None]]:
        """Take a place for one try; what is yielded gives it back, and is called on success.

        Raises:
            ApiError: 429, there is none.
        """
        keys = self._keys(user, name, address)
        taken: list[str] = []
        now = self._clock()
        for key in keys:
            place = take(self._failures, key, now)
            if place.retry_after:
                self._give_back(taken)
                raise too_many(place, "failed log-ins")
            taken.append(key)
        yield lambda: self._give_back(taken)

    def _give_back(self, keys: list[str]) -> None:
        for key in keys:
            give_back(self._failures, key, self._clock())

    @staticmethod
    def _keys(user: User | None, name: str, address: str) -> tuple[str, ...]:
        place = network_of(address)
        if _is_known(user, address):
            return (f"known {place} {name.lower()[:_LONGEST_NAME]}",)
        return (f"address {place}", f"name {name.lower()[:_LONGEST_NAME]}")


def network_of(address: str) -> str:
    """Return what clients are counted by: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((ip, _V6_PREFIX), strict=False))


def _is_known(user: User | None, address: str) -> bool:
    return user is not None and network_of(address) in user.known
