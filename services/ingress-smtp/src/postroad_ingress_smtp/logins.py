"""Which logins exist and whether a password is right, at little cost and without the database.

Three steps, each cached. A login is looked up again after `auth_refresh_seconds`, so a change is
seen within seconds, also by sessions that stand; while the database is away, what was seen within
`auth_stale_seconds` counts. A password that was right is remembered as a MAC under a key of this
process, bound to the hash it was checked against. argon2 runs in a few threads with a bounded
queue, once per password however many connections ask at the same time.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from postroad_common.caching import Cache
from postroad_common.errors import StoreAway
from postroad_common.secrets import DUMMY_HASH, verify_password
from postroad_common.store.credentials import Credential
from postroad_ingress_smtp.limits import SmtpLimits
from postroad_smtp.server.sasl import SaslCredentials

_ENTRIES = 10_000
_PATIENCE = 1.0
"""Seconds to wait for the database before a login seen earlier is used."""
_AWAY = 5.0
"""Seconds for which the database, once found away, is not waited for."""

Find = Callable[[str], Awaitable[Credential | None]]
Clock = Callable[[], float]


class BusyError(Exception):
    """Too many passwords wait to be checked."""


@dataclass(slots=True)
class _Seen:
    credential: Credential | None
    time: float


class Logins:
    """The logins of one process."""

    def __init__(self, find: Find, limits: SmtpLimits, clock: Clock) -> None:
        """`find` looks up a username and may raise StoreAway; `clock` is monotonic seconds."""
        self._find = find
        self._limits = limits
        self._clock = clock
        self._seen: Cache[str, _Seen] = Cache(_ENTRIES)
        self._lookups: dict[str, asyncio.Task[Credential | None]] = {}
        self._away_until = 0.0
        self._key = secrets.token_bytes(32)
        self._right: Cache[bytes, None] = Cache(
            _ENTRIES, seconds=limits.auth_cache_seconds, clock=clock
        )
        self._checks: dict[bytes, asyncio.Future[bool]] = {}
        self._threads = ThreadPoolExecutor(limits.auth_workers, thread_name_prefix="argon2")

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def current(self, username: str) -> Credential | None:
        """Return the login as it is now, or was a few seconds ago; None if there is none.

        Raises:
            StoreAway: the database is away and the login was not seen recently.
        """
        seen = self._seen.get(username)
        now = self._clock()
        if seen is not None:
            age = now - seen.time
            if age <= self._limits.auth_refresh_seconds:
                return seen.credential
            if age > self._limits.auth_stale_seconds:
                seen = None
        if seen is not None and now < self._away_until:
            self._look_up(username)  # in the background, to notice its return
            return seen.credential
        try:
            async with asyncio.timeout(_PATIENCE if seen is not None else None):
                return await asyncio.shield(self._look_up(username))
        except (StoreAway, TimeoutError):
            self._away_until = self._clock() + _AWAY
            if seen is None:
                raise
            return seen.credential

    def _look_up(self, username: str) -> "asyncio.Task[Credential | None]":
        task = self._lookups.get(username)
        if task is None:
            task = asyncio.create_task(self._fetch(username), name="look-up-login")
            self._lookups[username] = task
            task.add_done_callback(lambda done: self._looked_up(username, done))
        return task

    async def _fetch(self, username: str) -> Credential | None:
        credential = await self._find(username)
        if credential is None:  # names that do not exist must not push out those that do
            self._seen.pop(username)
        else:
            self._seen.put(username, _Seen(credential, self._clock()))
        self._away_until = 0.0
        return credential

    def _looked_up(self, username: str, task: "asyncio.Task[Credential | None]") -> None:
        self._lookups.pop(username, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; a look-up in the background may fail

    def remembers(self, credentials: SaslCredentials, stored: Credential | None) -> bool:
        """Return whether the password was found right lately, for the login as it is stored now."""
        return stored is not None and self._mac(credentials, stored) in self._right

    async def verify(
        self, credentials: SaslCredentials, stored: Credential | None, *, known: bool
    ) -> bool:
        """Return whether the password is right; for no login at all it takes as long to say no.

        Half of the places to wait in are for clients that are `known`.

        Raises:
            BusyError: too many others wait.
        """
        if self.remembers(credentials, stored):
            return True
        mac = self._mac(credentials, stored)
        check = self._checks.get(mac)
        if check is None:
            places = self._limits.auth_waiting if known else (self._limits.auth_waiting + 1) // 2
            if len(self._checks) >= places:
                raise BusyError
            password_hash = stored.password_hash if stored else DUMMY_HASH
            loop = asyncio.get_running_loop()
            check = loop.run_in_executor(
                self._threads, verify_password, password_hash, credentials.password
            )
            self._checks[mac] = check
            check.add_done_callback(lambda _: self._checks.pop(mac, None))
        right = await asyncio.shield(check) and stored is not None
        if right:
            self._right.put(mac, None)
        return right

    def _mac(self, credentials: SaslCredentials, stored: Credential | None) -> bytes:
        """Of name, password and the hash, which changes when the login is rotated."""
        text = "\0".join(
            (credentials.username, credentials.password, stored.password_hash if stored else "")
        )
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=32).digest()
