"""One attempt to log in: who is refused how, and how long that takes.

The exchange on the wire is in `protocol`, its decoding in `sasl`, the caches in `logins`.
"""

import asyncio
from collections.abc import Callable

import structlog

from postroad_common.errors import StoreAway
from postroad_common.mail.reply import Reply
from postroad_common.store.credentials import Credential
from postroad_ingress_smtp import metrics, replies
from postroad_ingress_smtp.admission import Turns, client_key
from postroad_ingress_smtp.failures import Failures
from postroad_ingress_smtp.logins import BusyError, Logins
from postroad_ingress_smtp.permissions import check_network
from postroad_smtp.server.sasl import SaslCredentials

_TURNS = 4
"""Passwords that are checked at the same time for one address that is not known."""

_log = structlog.get_logger(__name__)


class Authentication:
    """Checks credentials for the submission listeners."""

    def __init__(self, logins: Logins, failures: Failures, clock: Callable[[], float]) -> None:
        self._logins = logins
        self._failures = failures
        self._clock = clock
        self._turns = Turns(_TURNS)

    async def check(self, credentials: SaslCredentials, address: str) -> Credential | Reply:
        """Return the login that `credentials` from the IP `address` open, or the refusal.

        A wrong password is answered late, and later each time.
        """
        username = credentials.username
        try:
            stored = await self._logins.current(username)
            right = await self._is_right(credentials, stored, address)
        except (StoreAway, TimeoutError):
            metrics.AUTH_FAILURES.labels("store away").inc()
            return replies.AUTH_UNAVAILABLE
        except BusyError:
            metrics.AUTH_FAILURES.labels("busy").inc()
            return replies.AUTH_UNAVAILABLE
        if right is None:
            metrics.AUTH_FAILURES.labels("blocked").inc()
            return replies.AUTH_BLOCKED
        if not right or stored is None or stored.disabled:
            return await self._refuse(username, address)
        refusal = check_network(stored, address)
        if refusal is not None:
            metrics.AUTH_FAILURES.labels("network").inc()
            return refusal
        self._failures.succeeded(address, username)
        return stored

    async def _is_right(
        self, credentials: SaslCredentials, stored: Credential | None, address: str
    ) -> bool | None:
        """Return whether the password is right; None where it is not even looked at.

        An address that has used the login with success does not wait. Others take turns, so that
        many attempts from one address neither pass its limit nor fill the queue.
        """
        username = credentials.username
        if self._logins.remembers(credentials, stored):
            return True
        if self._failures.trusts(address, username):
            return await self._logins.verify(credentials, stored, known=True)
        async with self._turns.of(client_key(address)):
            if self._failures.blocked(address, username, self._clock()):
                return None
            with self._failures.trying(address, username):
                return await self._logins.verify(credentials, stored, known=False)

    async def refuse_malformed(self, address: str) -> Reply:
        """Return the answer to credentials that can be none."""
        return await self._refuse("", address)

    async def _refuse(self, username: str, address: str) -> Reply:
        delay = self._failures.failed(address, username, self._clock())
        metrics.AUTH_FAILURES.labels("credentials").inc()
        _log.info("login failed", ip=address, username=username[:64], delay=round(delay, 1))
        await asyncio.sleep(delay)
        return replies.AUTH_FAILED
