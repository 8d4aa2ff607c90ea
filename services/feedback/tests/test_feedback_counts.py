import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import TIMELINE_ONLY, Event, EventName, happened
from postroad_common.store.rollupparts import DOMAIN, LOGIN, PROVIDER, TAG, TAGGED, WHOLE, MailPart
from postroad_common.store.rollups import RollupKey
from postroad_feedback.counts import additions, is_reaction, mark_of
from postroad_feedback.message_cache import MessageInfo
from postroad_feedback.parts import NEVER_SENT, PartLimit

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
FACTS = {
    "m1": MessageInfo("acme", "a@example.com", "s@acme.test", ("news", "news", "weekly")),
    "m2": MessageInfo("acme", "b@example.com", "s@acme.test", ()),
    "m3": MessageInfo("other", "c@example.com", "", ("news",)),
}


def whole(counted: Mapping[RollupKey, Counter[str]]) -> dict[RollupKey, Counter[str]]:
    """Leave out what is counted of parts of the mail."""
    return {key: counts for key, counts in counted.items() if key.part == WHOLE}


def test_each_event_counts_for_its_day_and_once_for_each_of_its_tags():
    events = [
        happened(EventName.DELIVERED, "m1", NOON, {}),
        happened(EventName.FAILED, "m2", NOON, {}),
    ]
    assert whole(additions(events, FACTS, ()).days) == {
        RollupKey("acme", "2026-11-21", ""): Counter(delivered=1, failed=1),
        RollupKey("acme", "2026-11-21", "news"): Counter(delivered=1),
        RollupKey("acme", "2026-11-21", "weekly"): Counter(delivered=1),
    }


def test_machines_are_counted_apart():
    events = [
        happened(EventName.CLICKED, "m2", NOON, {"machine": True, "reason": "scanner"}),
        happened(EventName.CLICKED, "m2", NOON, {"machine": False}),
    ]
    counted = whole(additions(events, FACTS, ["m2.clicked"]).days)
    assert counted[RollupKey("acme", "2026-11-21", "")] == Counter(
        clicked_machine=1, clicked=1, clicked_unique=1
    )


def test_only_the_first_opening_of_a_message_is_unique():
    events = [happened(EventName.OPENED, "m2", NOON + i, {"machine": False}) for i in range(3)]
    assert additions(events, FACTS, ["m2.opened"]).days[
        RollupKey("acme", "2026-11-21", "")
    ] == Counter(opened=3, opened_unique=1)
    assert additions(events, FACTS, []).days[RollupKey("acme", "2026-11-21", "")] == Counter(
        opened=3
    )


def test_days_begin_at_midnight_utc():
    midnight = NOON + 12 * 3600
    events = [happened(EventName.ACCEPTED, "m2", time, {}) for time in (midnight - 0.001, midnight)]
    assert sorted(key.day for key in whole(additions(events, FACTS, ()).days)) == [
        "2026-11-21",
        "2026-11-22",
    ]


def test_unknown_messages_and_internal_steps_are_not_counted():
    events = [
        happened(EventName.DELIVERED, "unknown", NOON, {}),
        happened(EventName.TRANSFORMED, "m1", NOON, {}),
    ]
    assert whole(additions(events, FACTS, ()).days) == {}


def test_what_the_simulator_made_up_counts_and_is_told_apart_where_it_could_alarm():
    simulated = {"simulated": True}
    events = [
        happened(EventName.DELIVERED, "m2", NOON, simulated),
        happened(EventName.DELIVERED, "m2", NOON, {}),
        happened(EventName.COMPLAINED, "m2", NOON, simulated),
        happened(EventName.FAILED, "m2", NOON, simulated),
    ]
    assert additions(events, FACTS, ()).days[RollupKey("acme", "2026-11-21", "")] == Counter(
        delivered=2, simulated_delivered=1, complained=1, simulated_complained=1, failed=1
    )


def test_nothing_counts_of_a_test_but_that_it_was_made():
    facts = {"m9": MessageInfo("acme", "a@example.com", "", ("news",), test=True)}
    events = [happened(name, "m9", NOON, {}) for name in EventName]
    assert whole(additions(events, facts, ["m9.opened", "m9.clicked"]).days) == {
        RollupKey("acme", "2026-11-21", ""): Counter(tested=1),
        RollupKey("acme", "2026-11-21", "news"): Counter(tested=1),
    }


EVENTS = st.lists(
    st.builds(
        lambda name, message, time, machine: happened(
            name, message, time, {"machine": machine}, event_id=new_id()
        ),
        st.sampled_from(list(EventName)),
        st.sampled_from(["m1", "m2", "m3", "m4"]),
        st.floats(NOON - 90_000, NOON + 90_000),
        st.booleans(),
    ),
    max_size=30,
)


@given(EVENTS, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_sums_add_up(events: list[Event], chance: random.Random):
    marks = {mark_of(event) for event in events if is_reaction(event)}
    counted = additions(events, FACTS, marks).days
    shuffled = list(events)
    chance.shuffle(shuffled)
    assert additions(shuffled, FACTS, marks).days == counted
    total = sum(
        number
        for key, counts in counted.items()
        if (key.tag, key.part) == ("", WHOLE)
        for name, number in counts.items()
        if not name.endswith(("_unique", "_hard", "_soft"))
    )
    assert total == sum(
        event.message in FACTS and event.event not in TIMELINE_ONLY for event in events
    )


def test_messages_are_told_from_attempts_and_hard_bounces_from_soft():
    events = [
        *(happened(EventName.DEFERRED, "m2", NOON + n, {"attempt": n}) for n in range(3)),
        happened(EventName.BOUNCED, "m2", NOON, {"hard": True}),
        happened(EventName.BOUNCED, "m2", NOON, {"hard": False}),
    ]
    assert additions(events, FACTS, ()).days[RollupKey("acme", "2026-11-21", "")] == Counter(
        deferred=3, deferred_unique=1, bounced=2, bounced_hard=1, bounced_soft=1
    )


def test_hours_count_the_same_over_all_tags():
    events = [
        happened(EventName.DELIVERED, "m1", NOON - 1, {}),
        happened(EventName.OPENED, "m1", NOON, {"machine": True}),
        happened(EventName.OPENED, "m1", NOON + 1, {"machine": False}),
    ]
    assert whole(additions(events, FACTS, ["m1.opened"]).hours) == {
        RollupKey("acme", "2026-11-21T11", ""): Counter(delivered=1),
        RollupKey("acme", "2026-11-21T12", ""): Counter(
            opened=1, opened_unique=1, opened_machine=1
        ),
    }


SENT = MessageInfo(
    "acme", "a@example.com", "s@acme.test", ("news",), login="smtp-1", sender="shop@shop.test"
)


def of_parts(counted: Mapping[RollupKey, Counter[str]]) -> dict[MailPart, Counter[str]]:
    return {key.part: counts for key, counts in counted.items() if key.part.name}


def test_each_event_counts_for_its_login_sender_domain_and_provider_in_days_and_hours():
    events = [
        happened(EventName.ACCEPTED, "m", NOON, {}),
        happened(EventName.DELIVERED, "m", NOON, {"provider": "google"}),
        happened(EventName.OPENED, "m", NOON, {"machine": False}),
        happened(EventName.OPENED, "old", NOON, {"machine": False}),
    ]
    before = MessageInfo("acme", "a@example.com", "s@acme.test", ())
    facts = {"m": replace(SENT, provider="google"), "old": before}
    counted = additions(events, facts, ["m.opened"])
    mine = Counter(accepted=1, delivered=1, opened=1, opened_unique=1)
    assert of_parts(counted.days) == {
        MailPart(LOGIN, "smtp-1"): mine,
        MailPart(DOMAIN, "shop.test"): mine,
        MailPart(DOMAIN, "acme.test"): Counter(opened=1),
        MailPart(PROVIDER, "google"): Counter(delivered=1, opened=1, opened_unique=1),
        MailPart(PROVIDER, "other"): Counter(opened=1),
        MailPart(TAG, "news"): mine,
    }
    assert of_parts(counted.hours) == of_parts(counted.days)


def test_tags_are_bounded_on_a_day_and_in_its_hours_and_a_message_counts_once_for_the_rest():
    facts = {f"m{n}": replace(SENT, tags=(f"t{n % 6}", f"u{n}", "all")) for n in range(600)}
    events = [happened(EventName.ACCEPTED, message, NOON, {}) for message in facts]
    counted = additions(events, facts, (), PartLimit(most=5, most_tags=9))
    hour = {
        part.name: counts["accepted"]
        for part, counts in of_parts(counted.hours).items()
        if part.by == TAG
    }
    day = {key.tag: counts["accepted"] for key, counts in counted.days.items() if key.tag}
    assert len(hour) == 6
    assert len(day) == 10
    for found in (hour, day):
        assert found["all"] == 600
        assert found["t0"] == 100
        assert 590 <= found["other"] <= 600


def test_parts_of_a_day_are_bounded_and_what_is_more_is_counted_together():
    limit = PartLimit(most=2)
    facts = {f"m{n}": replace(SENT, login=f"smtp-{n % 4}") for n in range(8)}
    events = [happened(EventName.ACCEPTED, message, NOON, {}) for message in facts]
    of_logins = {
        part.name: counts["accepted"]
        for part, counts in of_parts(additions(events, facts, (), limit).days).items()
        if part.by == LOGIN
    }
    assert of_logins == {"smtp-0": 2, "smtp-1": 2, "other": 4}
    tomorrow = [happened(EventName.ACCEPTED, "m3", NOON + 86_400, {})]
    later = of_parts(additions(tomorrow, facts, (), limit).days)
    assert MailPart(LOGIN, "smtp-3") in later


@given(EVENTS)
def test_parts_of_a_day_are_the_sums_of_its_hours(events: list[Event]):
    facts = {name: replace(info, tags=(name, "all", "more")) for name, info in FACTS.items()}
    counted = additions(events, facts, (), PartLimit(most=2))
    sums: dict[RollupKey, Counter[str]] = {}
    for key, counts in counted.hours.items():
        part = TAGGED if key.part == WHOLE else key.part
        of_day = key._replace(day=key.day[:10], part=part)
        sums.setdefault(of_day, Counter()).update(counts)
    days = {key: counts for key, counts in counted.days.items() if not key.tag}
    assert {key: counts for key, counts in days.items() if key.part != WHOLE} == sums
    assert whole(days) == {
        key._replace(part=WHOLE): counts for key, counts in days.items() if key.part == TAGGED
    }


@given(EVENTS)
def test_parts_of_each_kind_add_up_to_the_whole(events: list[Event]):
    facts = {
        name: replace(info, login="smtp-1", envelope="s@a.test") for name, info in FACTS.items()
    }
    tried = [event for event in events if event.event not in NEVER_SENT]
    for by, of_all in ((LOGIN, events), (DOMAIN, events), (PROVIDER, tried)):
        parts = (
            (key._replace(part=WHOLE), counts)
            for key, counts in additions(events, facts, ()).hours.items()
            if key.part.by == by
        )
        sums: dict[RollupKey, Counter[str]] = {}
        for key, counts in parts:
            sums.setdefault(key, Counter()).update(counts)
        assert sums == whole(additions(of_all, facts, ()).hours)
