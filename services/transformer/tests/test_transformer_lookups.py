"""Look-ups while the database is away: mail goes on, and what was skipped is counted."""

from prometheus_client import REGISTRY

from postroad_common.store import Database
from postroad_transformer.lookups.signing_keys import SigningKeys
from postroad_transformer.lookups.suppressions import SuppressionCheck

NOWHERE = "mongodb://127.0.0.1:9/postroad?serverSelectionTimeoutMS=50"


def skipped(lookup: str) -> float:
    name = "postroad_transformer_lookups_skipped_total"
    return REGISTRY.get_sample_value(name, {"lookup": lookup}) or 0.0


async def test_addresses_that_are_not_checked_are_counted_also_while_the_database_is_left_alone():
    database = Database(NOWHERE, patience=0.2)
    try:
        check = SuppressionCheck(database.suppressions)
        before = skipped("suppressions")
        assert await check.find_many([("acme", "a@x.test"), ("acme", "b@x.test")]) == {}
        assert skipped("suppressions") == before + 2
        assert await check.find_many([("acme", "c@x.test")]) == {}
        assert skipped("suppressions") == before + 3
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
