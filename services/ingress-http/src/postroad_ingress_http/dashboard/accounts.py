"""The account that is looked at, and for the operator all accounts."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.store.accounts import LIMITS
from postroad_common.store.rollups import Rollup
from postroad_ingress_http.dashboard.forms import number, see_other, text
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import (
    AccountsOf,
    AccountStore,
    ClockOf,
    RollupStore,
    SessionStore,
    UsersOf,
)
from postroad_ingress_http.history.statistics import complaint_rate
from postroad_ingress_http.http.errors import bad_field
from postroad_ingress_http.http.fields import Fields
from postroad_ingress_http.http.paging import read_cursor, write_cursor

router = APIRouter(prefix="/dashboard", include_in_schema=False)
_PAGE = 20
_MONTH = timedelta(days=29)  # with today
_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class AccountNumbers:
    """What an account has sent in a month (docs/numbers.md); the rate is in per cent."""

    accepted: int
    delivered: int
    bounced_hard: int
    complained: int
    complaint_rate: float


@router.get("/account")
async def own(session: SignedIn, pages: PagesOf, accounts: AccountsOf) -> Response:
    """Show the account with its limits."""
    return pages.answer("account.html", account=await accounts.find(session.account))


@router.post("/account")
async def rename(session: SignedIn, fields: Form, accounts: AccountsOf) -> Response:
    """Rename the account."""
    name = text(fields, "name").strip()[:_NAME_LENGTH]
    if not name:
        raise bad_field("name", "Give the account a name.", code="missing")
    await accounts.change(session.account, {"name": name})
    return see_other("/dashboard/account", "Renamed.")


@router.get("/accounts")
async def listing(
    request: Request,
    _: SignedIn,
    pages: PagesOf,
    store: AccountStore,
    rollups: RollupStore,
    clock: ClockOf,
) -> Response:
    """List all accounts with their numbers of the last month."""
    prefix = request.query_params.get("id", "").strip().lower()[:_NAME_LENGTH]
    position = read_cursor(request.query_params.get("cursor"), str)
    after = position[0] if position else ""
    found = await store.list(after, _PAGE + 1, prefix)
    shown = found[:_PAGE]
    end = datetime.fromtimestamp(clock(), UTC)
    days = f"{end - _MONTH:%Y-%m-%d}", f"{end:%Y-%m-%d}"
    read = await asyncio.gather(*(rollups.read(account.id, *days) for account in shown))
    return pages.answer(
        "accounts.html",
        rows=[(account, _numbers(each)) for account, each in zip(shown, read, strict=True)],
        limits=LIMITS,
        query={"id": prefix},
        cursor=write_cursor(found[_PAGE - 1].id) if len(found) > _PAGE else None,
    )


def _numbers(days: Sequence[Rollup]) -> AccountNumbers:
    """Return what an account has sent on some days, and what came of it."""
    sums: Counter[str] = Counter()
    for day in days:
        sums.update(day.counts)
    return AccountNumbers(
        accepted=sums["accepted"],
        delivered=sums["delivered"],
        bounced_hard=sums["bounced_hard"],
        complained=sums["complained"],
        complaint_rate=100 * complaint_rate(sums),
    )


@router.post("/accounts")
async def create(
    session: SignedIn, fields: Form, pages: PagesOf, accounts: AccountsOf, users: UsersOf
) -> Response:
    """Make an account, and show the link for its owner."""
    made = await accounts.create(
        text(fields, "id").strip(),
        text(fields, "name").strip()[:_NAME_LENGTH],
        verified_senders_only=fields.get("verified_senders_only") == "true",
    )
    link = await users.invite(made.id, text(fields, "owner"), "owner", session.scopes)
    url = link.url or f"{str(pages.request.base_url).rstrip('/')}{link.path}"
    return pages.secret(
        "Account made", "/dashboard/accounts", invitation_for=link.invitation.email, link=url
    )


@router.post("/accounts/{account_id}")
async def change(account_id: str, _: SignedIn, fields: Form, accounts: AccountsOf) -> Response:
    """Change an account."""
    changes = {
        "suspended": fields.get("suspended") == "true",
        "verified_senders_only": fields.get("verified_senders_only") == "true",
        "limits": {name: _limit(fields, name) for name in LIMITS},
    }
    await accounts.change(account_id, changes)
    return see_other("/dashboard/accounts", f"The account {account_id} is changed.")


@router.post("/accounts/{account_id}/enter")
async def enter(
    account_id: str, session: SignedIn, _: Form, accounts: AccountsOf, records: SessionStore
) -> Response:
    """Look at another account, as its owner does."""
    account = await accounts.find(account_id)
    await records.look_at(session.id, account.id)
    return see_other("/dashboard", f"You look at the account {account.id} now.")


@router.post("/leave")
async def leave(session: SignedIn, _: Form, records: SessionStore) -> Response:
    """Look at the own account again."""
    await records.look_at(session.id, session.home)
    return see_other("/dashboard/accounts", "You are back in your own account.")


@router.post("/accounts/{account_id}/delete")
async def delete(account_id: str, _: SignedIn, _form: Form, accounts: AccountsOf) -> Response:
    """Delete an account that is suspended."""
    await accounts.delete(account_id)
    return see_other("/dashboard/accounts", f"The account {account_id} is deleted.")


def _limit(fields: Fields, name: str) -> int:
    return int(number(fields, name, 0, 1_000_000_000)) if text(fields, name) else 0
