"""Accounts as the operator makes and changes them, and the bounds on what an account may have."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from postroad_common.store.accounts import FIRST_ACCOUNT, LIMITS, SYSTEM_ACCOUNT, Account, Accounts
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found

RESERVED = frozenset({SYSTEM_ACCOUNT, "operator", "new"})
"""Ids that no account has."""
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", re.ASCII)
_MOST = 1_000_000_000


def is_account_id(text: str) -> bool:
    """Whether `text` could be the id of an account."""
    return _ID.fullmatch(text) is not None and text not in RESERVED


class AccountAdministration:
    """Makes, changes and deletes accounts."""

    def __init__(self, store: Accounts, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def create(
        self,
        account_id: str,
        name: str,
        *,
        verified_senders_only: bool = True,
        limits: Mapping[str, int] | None = None,
    ) -> Account:
        """Make an account.

        Raises:
            ApiError: 400, the id or a limit is none; 409, the id is taken.
        """
        if not is_account_id(account_id):
            raise bad_field("id", "Give 1 to 40 of a-z, 0-9 and -, which is not reserved.")
        account = Account(
            id=account_id,
            name=name or account_id,
            created=self._clock(),
            verified_senders_only=verified_senders_only,
            limits=read_limits(limits or {}),
        )
        if not await self._store.create(account):
            raise ApiError(409, "There is an account with this id already.", field="id")
        return account

    async def find(self, account_id: str) -> Account:
        """Return the account.

        Raises:
            ApiError: 404.
        """
        account = await self._store.find(account_id)
        if account is None:
            raise not_found("account")
        return account

    async def change(self, account_id: str, changes: Mapping[str, Any]) -> Account:
        """Change the account; what is None stays. Limits that are 0 are taken away.

        Raises:
            ApiError: 400, 404.
        """
        values = {key: value for key, value in changes.items() if value is not None}
        if "limits" in values:
            old = await self.find(account_id)
            values["limits"] = read_limits({**old.limits, **values["limits"]})
        account = await self._store.update(account_id, values) if values else None
        return account or await self.find(account_id)

    async def delete(self, account_id: str) -> None:
        """Delete the account with its users, tokens, logins, domains, suppressions and webhooks.

        Raises:
            ApiError: 404; 409, it is the first, or it is not suspended.
        """
        account = await self.find(account_id)
        if account.id == FIRST_ACCOUNT:
            raise ApiError(409, "The first account cannot be deleted.")
        if not account.suspended:
            raise ApiError(409, "Suspend the account first, so that nothing is sent meanwhile.")
        await self._store.delete(account_id)

    async def check_room(self, account_id: str, kind: str) -> None:
        """Check that the account may have one more of `kind`, out of `COUNTED`.

        Raises:
            ApiError: 403, it has as many as it may.
        """
        account = await self._store.find(account_id)
        limit = account.limits.get(kind) if account else None
        if limit and await self._store.count(account_id, kind) >= limit:
            raise ApiError(
                403, f"This account may have {limit} {kind} and has them.", code="limit_reached"
            )


def read_limits(limits: Mapping[str, int]) -> dict[str, int]:
    """Return the limits that are not 0.

    Raises:
        ApiError: 400, there is no such limit, or it is no number.
    """
    for name, value in limits.items():
        if name not in LIMITS:
            raise bad_field(f"limits.{name}", f"There are limits of {', '.join(LIMITS)}.")
        if not 0 <= value <= _MOST:
            raise bad_field(f"limits.{name}", f"Give a number from 0 (none) to {_MOST}.")
    return {name: value for name, value in limits.items() if value}
