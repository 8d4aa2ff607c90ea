"""From fields as they are written, and what an account may send."""

from collections.abc import Sequence
from typing import Any

import pytest

from postroad_common.errors import StoreAway
from postroad_common.mail.senders import from_addresses, is_at_or_below, is_within
from postroad_common.store.accounts import Account
from postroad_common.store.rollups import Rollup
from postroad_common.store.sendingrights import (
    FRESH_SECONDS,
    STALE_SECONDS,
    SendingRights,
    SendingRules,
)


@pytest.mark.parametrize(
    ("field", "addresses"),
    [
        ("From: a@shop.example", ["a@shop.example"]),
        ("from:\r\n a@Shop.EXAMPLE", ["a@shop.example"]),
        ('From: "b@bank.example" <a@shop.example>', ["a@shop.example"]),
        ("From: A <a@shop.example>, b@bank.example", ["a@shop.example", "b@bank.example"]),
        ("From: =?utf-8?q?J=C3=B6?= <a@shop.example>", ["a@shop.example"]),
        ("From: a@bücher.example", ["a@xn--bcher-kva.example"]),
        ("Subject: x", None),
        ("From: a@shop.example\r\nFrom: b@bank.example", None),
        ("From: nobody", None),
        ("From:", None),
        ("From: <a@shop.example", ["a@shop.example"]),
        ("From: a@shop.example@bank.example", None),
    ],
)
def test_from_field_is_read_as_one_list_of_addresses(field: str, addresses: Sequence[str] | None):
    found = from_addresses(f"{field}\r\nTo: x@y.example\r\n\r\nFrom: body@z.example\r\n".encode())
    assert found == (None if addresses is None else tuple(addresses))


def test_domains_below_are_meant_where_they_are_said():
    assert is_within("Shop.example", ["shop.example"])
    assert not is_within("a.shop.example", ["shop.example"])
    assert is_within("a.shop.example", ["*.shop.example"])
    assert not is_within("shop.example", ["*.shop.example"])
    assert is_at_or_below("a.shop.example", ["shop.example"])
    assert not is_at_or_below("evilshop.example", ["shop.example"])


class Store:
    """What is asked of the database; `away` refuses."""

    def __init__(self, account: Account | None) -> None:
        self.account = account
        self.names = frozenset({"shop.example"})
        self.sent = 0
        self.away = False
        self.asked = 0

    async def find(self, _account: str) -> Account | None:
        self.asked += 1
        if self.away:
            raise StoreAway("away")
        return self.account

    async def verified(self, _account: str) -> frozenset[str]:
        return self.names

    async def read(self, account: str, start: str, _end: str) -> list[Rollup]:
        return [Rollup(account, start, "", {"accepted": self.sent})]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(account: Account | None) -> tuple[SendingRules, Store, Clock]:
    store, clock = Store(account), Clock()
    any_store: Any = store
    return SendingRules(any_store, any_store, any_store, clock=clock), store, clock


async def test_account_nothing_is_known_of_may_send_from_anywhere():
    rules, _, _ = make(None)
    assert await rules.of("main") == SendingRights()
    assert SendingRights().unverified("a@bank.example") is None


async def test_account_sends_from_its_verified_domains_and_what_lies_below():
    rules, _, _ = make(Account("shop", verified_senders_only=True))
    rights = await rules.of("shop")
    assert rights.unverified("a@shop.example", "b@news.shop.example", "") is None
    assert rights.unverified("a@shop.example", "b@bank.example") == "bank.example"


async def test_messages_left_today_follow_what_was_accepted():
    rules, store, clock = make(Account("shop", limits={"messages_per_day": 10}))
    store.sent = 7
    assert (await rules.of("shop")).left_today == 3
    store.sent = 12
    clock.now += FRESH_SECONDS
    assert (await rules.of("shop")).left_today == 0


async def test_what_an_account_may_is_remembered_while_the_database_is_away():
    rules, store, clock = make(Account("shop", suspended=True))
    assert (await rules.of("shop")).suspended
    store.away = True
    clock.now += FRESH_SECONDS
    asked = store.asked
    for _ in range(5):
        assert (await rules.of("shop")).suspended
    assert store.asked == asked + 1
    clock.now += STALE_SECONDS
    with pytest.raises(StoreAway):
        await rules.of("shop")
