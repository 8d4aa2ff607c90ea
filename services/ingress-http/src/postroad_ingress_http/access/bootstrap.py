"""The first account: a dashboard user and a token, made from the settings when they are not there.

Nothing that exists is changed, so a password that was changed in the meantime stays changed; only
the two named in the settings are the operator's, whenever they were made.
"""

import asyncio
import random

import structlog

from postroad_common.errors import StoreAway
from postroad_common.secrets import hash_password, hash_token
from postroad_common.store.accounts import FIRST_ACCOUNT, Account, Accounts
from postroad_common.store.tokens import Tokens
from postroad_common.store.users import Users
from postroad_ingress_http.access.scopes import EVERYTHING, OPERATOR

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0
_log = structlog.get_logger(__name__)


class Bootstrap:
    """Runs until it has succeeded; the service is not ready before."""

    def __init__(
        self,
        accounts: Accounts,
        users: Users,
        tokens: Tokens,
        *,
        email: str | None,
        password: str | None,
        token: str | None,
    ) -> None:
        self._accounts = accounts
        self._users = users
        self._tokens = tokens
        self._email = email
        self._password = password
        self._token = token
        self._done = asyncio.Event()

    async def run(self) -> None:
        """Try until the database answers."""
        pause = _FIRST_PAUSE
        while not self._done.is_set():
            try:
                await self._create()
            except StoreAway as error:
                _log.warning("first account waits for the database", error=str(error))
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(_LONGEST_PAUSE, pause * 2)
            else:
                self._done.set()

    async def check(self) -> None:
        """Raise RuntimeError until the first account is there: a readiness check."""
        if not self._done.is_set():
            raise RuntimeError("the first account has not been created yet")

    async def _create(self) -> None:
        if await self._accounts.create(Account(FIRST_ACCOUNT, name="Main account")):
            _log.info("first account created")
        if self._email and self._password:
            await self._create_user(self._email, self._password)
        if self._token:
            token = await self._tokens.create(
                account=FIRST_ACCOUNT,
                name="first token",
                scopes=(EVERYTHING, OPERATOR),
                secret_hash=hash_token(self._token),
            )
            if OPERATOR not in token.scopes:
                await self._tokens.grant(token.id, (OPERATOR,))

    async def _create_user(self, email: str, password: str) -> None:
        user = await self._users.find(email)
        if user is None:
            hashed = await asyncio.to_thread(hash_password, password)
            if await self._users.create(email, FIRST_ACCOUNT, hashed, operator=True):
                _log.info("first dashboard user created")
        elif not user.operator:
            await self._users.make_operator(email)
