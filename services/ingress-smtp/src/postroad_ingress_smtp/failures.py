"""Failed logins: how long the reply is held back, and when an address or a login is blocked.

Blocking a login name for everybody would let anybody lock its owner out, so addresses that have
used it with success are exempt.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from postroad_common.caching import Cache
from postroad_ingress_smtp.admission import client_key
from postroad_ingress_smtp.limits import SmtpLimits

_ENTRIES = 50_000
"""Addresses and logins that are remembered; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A count that fades: it halves with each window that passes."""

    count: float
    time: float

    def at(self, now: float, window: float) -> float:
        return self.count * math.exp2((self.time - now) / window)


class _Counts:
    """Failures by address, or by login. `window` is in seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._records: Cache[str, _Record] = Cache(_ENTRIES)

    def at(self, key: str, now: float) -> float:
        record = self._records.peek(key)
        return record.at(now, self._window) if record else 0.0

    def add(self, key: str, now: float) -> float:
        count = self.at(key, now) + 1
        self._records.put(key, _Record(count, now))
        return count


class Failures:
    """The failed logins of one process. Times are monotonic seconds."""

    def __init__(self, limits: SmtpLimits) -> None:
        self._limits = limits
        self._by_address = _Counts(limits.auth_window_seconds)
        self._by_login = _Counts(limits.auth_window_seconds)
        self._trusted: Cache[tuple[str, str], None] = Cache(_ENTRIES)
        self._trying: Counter[tuple[str, str]] = Counter()

    def trusts(self, address: str, login: str) -> bool:
        """Return whether the login was used with success from there, and not in vain since."""
        return (client_key(address), login) in self._trusted

    @contextlib.contextmanager
    def trying(self, address: str, login: str) -> Iterator[None]:
        """Count an attempt among the failures until its outcome is known.

        Otherwise any number of them could pass the limit together.
        """
        keys = (("address", client_key(address)), ("login", login))
        self._trying.update(keys)
        try:
            yield
        finally:
            for key in keys:
                self._trying[key] -= 1
                if not self._trying[key]:
                    del self._trying[key]

    def blocked(self, address: str, login: str, now: float) -> bool:
        """Return whether a password from `address` for `login` is not even looked at."""
        if self.trusts(address, login):
            return False
        key = client_key(address)
        of_address = round(self._by_address.at(key, now)) + self._trying["address", key]
        of_login = round(self._by_login.at(login, now)) + self._trying["login", login]
        return (
            of_address >= self._limits.auth_failures_per_address
            or of_login >= self._limits.auth_failures_per_login
        )

    def failed(self, address: str, login: str, now: float) -> float:
        """Note a failure, and return the seconds for which its reply is held back."""
        key = client_key(address)
        self._trusted.pop((key, login))
        count = self._by_address.add(key, now)
        self._by_login.add(login, now)
        delay = self._limits.auth_delay_seconds * 2 ** min(count - 1, 30)
        return min(delay, self._limits.auth_delay_max_seconds)

    def succeeded(self, address: str, login: str) -> None:
        """Note a success."""
        self._trusted.put((client_key(address), login), None)
