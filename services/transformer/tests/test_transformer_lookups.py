"""Look-ups while the database is away: mail goes on unless it may be suppressed."""

import time

from prometheus_client import REGISTRY

from postroad_common.store import Database
from postroad_common.store.suppressions import Addressed, Suppression
from postroad_testing.waiting import PATIENCE
from postroad_transformer.lookups.signing_keys import SigningKeys
from postroad_transformer.lookups.snapshot import PAGE, SuppressionSnapshot
from postroad_transformer.lookups.suppressions import SuppressionCheck

NOWHERE = "mongodb://127.0.0.1:9/postroad?serverSelectionTimeoutMS=50"


def skipped(lookup: str) -> float:
    name = "postroad_transformer_lookups_skipped_total"
    return REGISTRY.get_sample_value(name, {"lookup": lookup}) or 0.0


def doubted() -> float:
    name = "postroad_transformer_suppression_doubts_total"
    return REGISTRY.get_sample_value(name) or 0.0


def suppression(address: str, list_name: str = "") -> Suppression:
    return Suppression("acme", address, "asked", "unsubscribe", time.time(), None, list=list_name)


async def test_without_the_database_only_mail_that_may_be_suppressed_is_in_doubt(
    mongodb_uri: str,
):
    present, away = Database(mongodb_uri, patience=PATIENCE), Database(NOWHERE, patience=0.2)
    try:
        await present.suppressions.add(
            [suppression("a@x.test"), suppression("@y.test"), suppression("b@x.test", "news")]
        )
        snapshot = SuppressionSnapshot(present.suppressions)
        check = SuppressionCheck(away.suppressions, snapshot)
        clear = [
            Addressed("acme", "c@x.test"),
            Addressed("other", "a@x.test"),
            Addressed("acme", "b@x.test"),
            Addressed("acme", "b@x.test", "offers"),
        ]
        unclear = [
            Addressed("acme", "a@x.test"),
            Addressed("acme", "a@x.test", "news"),
            Addressed("acme", "any@y.test"),
            Addressed("acme", "b@x.test", "news"),
        ]
        findings = await check.find_many([*clear, *unclear])
        assert findings.doubt == {*clear, *unclear}  # nothing is known yet
        await snapshot.reload()
        before = doubted(), skipped("suppressions")
        findings = await check.find_many([*clear, *unclear])
        assert (findings.suppressed, findings.doubt) == ({}, set(unclear))
        assert (doubted(), skipped("suppressions")) == (before[0] + 4, before[1] + 8)
        await present.suppressions.add([suppression("c@x.test")])
        await snapshot.refresh()
        assert (await check.find_many(clear)).doubt == {clear[0]}
    finally:
        await present.close()
        await away.close()


async def test_suppressed_address_of_the_simulator_is_suppressed_without_an_entry_or_a_database():
    away = Database(NOWHERE, patience=0.2)
    try:
        snapshot = SuppressionSnapshot(away.suppressions)
        check = SuppressionCheck(away.suppressions, snapshot, "simulator.invalid")
        mails = [Addressed("acme", f"suppressed{tag}@simulator.invalid") for tag in ("", "+x")]
        others = [Addressed("acme", "delivered@simulator.invalid"), Addressed("acme", "a@x.test")]
        findings = await check.find_many([*mails, *others])
        assert list(findings.suppressed) == mails
        assert findings.doubt == set(others)
    finally:
        await away.close()


async def test_snapshot_knows_all_entries_of_a_long_list_and_forgets_those_that_were_removed(
    mongodb_uri: str,
):
    database = Database(mongodb_uri, patience=60.0)  # thousands of entries at once
    try:
        addresses = [f"u{number}@x.test" for number in range(PAGE + 10)]
        await database.suppressions.add(map(suppression, addresses))
        snapshot = SuppressionSnapshot(database.suppressions)
        await snapshot.reload()
        assert all(snapshot.may_be_suppressed(Addressed("acme", one)) for one in addresses)
        strangers = [Addressed("acme", f"v{number}@z.test") for number in range(2000)]
        assert sum(map(snapshot.may_be_suppressed, strangers)) < 20
        await database.suppressions.remove("acme", addresses[0])
        await snapshot.reload()
        assert not snapshot.may_be_suppressed(Addressed("acme", addresses[0]))
    finally:
        await database.close()


async def test_domains_signed_for_with_the_keys_at_hand_are_counted():
    database = Database(NOWHERE, patience=0.2)
    try:
        keys = SigningKeys(database.domains)
        before = skipped("keys")
        assert await keys.find_many({("acme", "shop.test")}) == {("acme", "shop.test"): ()}
        assert skipped("keys") > before
    finally:
        await database.close()
