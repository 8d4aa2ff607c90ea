"""Failed logins: how long the reply is held back, and when an address or a login is blocked.

Blocking a login name for everybody would let anybody lock its owner out, so addresses that have
used it with success are exempt.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from postroad_ingress_smtp.admission import client_key
from postroad_ingress_smtp.limits import Limits

_ENTRIES = 50_000
"""Addresses and logins that are remembered; the oldest are forgotten first."""


@dataclass(slots=True)
class _Record:
    """A count that fades: it halves with each window that passes."""

    count: float = 0.0
    time: float = 0.0

    def at(self, now: float, window: float) -> float:
        return self.count * math.exp2((self.time - now) / window)


@dataclass(slots=True)
class _Table:
    window: float
    records: OrderedDict[str, _Record] = field(default_factory=OrderedDict)

    def count(self, key: str, now: float) -> float:
        record = self.records.get(key)
        return record.at(now, self.window) if record else 0.0

    def add(self, key: str, now: float) -> float:
        record = self.records.pop(key, None) or _Record()
        record.count = record.at(now, self.window) + 1
        record.time = now
        self.records[key] = record
        if len(self.records) > _ENTRIES:
            self.records.popitem(last=False)
        return record.count


class Failures:
    """The failed logins of one process. Times are monotonic seconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address = _Table(limits.auth_window_seconds)
        self._by_login = _Table(limits.auth_window_seconds)
        self._trusted: OrderedDict[tuple[str, str], None] = OrderedDict()

    def blocked(self, address: str, login: str, now: float) -> bool:
        """Whether a password from `address` for `login` is not even looked at."""
        key = client_key(address)
        if (key, login) in self._trusted:
            return False
        return (
            round(self._by_address.count(key, now)) >= self._limits.auth_failures_per_address
            or round(self._by_login.count(login, now)) >= self._limits.auth_failures_per_login
        )

    def failed(self, address: str, login: str, now: float) -> float:
        """Note a failure; returns for how many seconds its reply is held back."""
        key = client_key(address)
        self._trusted.pop((key, login), None)
        count = self._by_address.add(key, now)
        self._by_login.add(login, now)
        delay = self._limits.auth_delay_seconds * 2 ** min(count - 1, 30)
        return min(delay, self._limits.auth_delay_max_seconds)

    def succeeded(self, address: str, login: str) -> None:
        """Note a success."""
        key = (client_key(address), login)
        self._trusted.pop(key, None)
        self._trusted[key] = None
        if len(self._trusted) > _ENTRIES:
            self._trusted.popitem(last=False)
