"""Lanes, bodies, journal: bookkeeping without a network."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient, Patch
from postroad_common.schemas.submission import BodyReference
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.delivery.body import BodyReader, PatchError, assemble
from postroad_sender.delivery.facts import AttemptFacts
from postroad_sender.delivery.journal import Journal, JournalEntry
from postroad_sender.lanes.lane import Lane
from postroad_sender.throttle.controller import Caps, Controller
from postroad_sender.throttle.signals import Signal


@dataclass(eq=False)
class Work:
    account: str
    since: float
    number: int = 0


def lane() -> Lane[Work]:
    return Lane(LaneKey("", "mx.test"), Controller(Caps(), 0.0), 0.0)


def test_accounts_take_turns():
    one = lane()
    for number in range(4):
        one.put(Work("big", 0.0, number))
    one.put(Work("small", 0.0, 9))
    taken = [one.take() for _ in range(5)]
    assert [work.account for work in taken if work] == ["big", "small", "big", "big", "big"]
    assert one.take() is None
    assert len(one) == 0


def test_message_put_back_is_the_next_of_its_account():
    one = lane()
    first, second = Work("a", 0.0, 1), Work("a", 0.0, 2)
    one.put(first)
    one.put(second)
    assert one.take() is first
    one.put_back(first)
    assert one.take() is first


def test_lane_that_moves_may_fill_the_shard_and_a_slow_one_only_a_share_of_what_is_left():
    one = lane()
    for number in range(30):
        one.put(Work("a", 10.0, number))
    one.moved = 10.9
    assert not one.is_crowding(95, 100, 10.95)
    assert one.is_crowding(95, 100, 11.5)  # it has stopped
    assert not one.is_crowding(35, 100, 11.5)
    one.moved = 12.9
    assert one.is_crowding(95, 100, 12.95)  # it moves, but the first has waited for long


def test_lane_that_has_taken_nothing_is_slow_sooner_unless_this_process_was_late_itself():
    one = lane()
    for number in range(80):
        one.put(Work("a", 10.0, number))
    assert not one.is_slow(10.09)
    assert one.is_slow(10.11)
    assert not one.is_slow(10.4, patience=0.4)
    assert one.is_slow(10.6, patience=0.4)


def test_account_with_few_messages_does_not_give_way_to_a_slow_lanes_many():
    one = lane()
    for number in range(80):
        one.put(Work("big", 10.0, number))
    assert one.is_crowding(95, 100, 13.0, "big")
    assert not one.is_crowding(95, 100, 13.0, "small")


def test_shedding_gives_away_the_newest_and_keeps_the_rest():
    one = lane()
    works = [Work("ab"[number % 2], float(number), number) for number in range(10)]
    for work in works:
        one.put(work)
    given_away = one.shed(3, lambda work: work.number != 9)
    assert sorted(work.number for work in given_away) == [3, 4, 5, 6, 7, 8]
    assert len(one) == 4
    assert sorted(work.number for work in one.take_all()) == [0, 1, 2, 9]


def test_shedding_takes_from_the_account_that_has_most():
    one = lane()
    for number in range(50):
        one.put(Work("big", float(number), number))
    small = [Work("small", 90.0 + number, 100 + number) for number in range(4)]
    for work in small:
        one.put(work)
    given_away = one.shed(10, lambda _: True)
    assert {work.account for work in given_away} == {"big"}
    assert len(one) == 10
    assert [work.number for work in one.take_all() if work.account == "small"] == [
        100,
        101,
        102,
        103,
    ]


def test_account_with_a_few_messages_is_let_into_a_lane_that_another_one_crowds():
    one = lane()
    for number in range(80):
        one.put(Work("big", 10.0, number))
    assert one.is_crowding(95, 100, 13.0, "big")
    assert not one.is_crowding(95, 100, 13.0, "small")
    for number in range(4):
        one.put(Work("small", 10.0, number))
    assert one.is_crowding(95, 100, 13.0, "small")


def test_parked_messages_come_back_one_after_the_other_at_the_lanes_speed():
    one = lane()
    for number in range(100):
        one.controller.on_success(1, 90.0 + number / 10)
    waits = [one.requeue_delay(100.0, 1800.0) for _ in range(100)]
    assert waits == sorted(waits)
    assert waits[-1] - waits[0] == pytest.approx(99 / 10, rel=0.2)


def test_parking_waits_for_a_closed_lane_and_never_longer_than_told():
    one = lane()
    for _ in range(6):
        one.controller.on_connect_failed(0, Signal.REFUSED, "refused", 0.0)
    assert one.requeue_delay(0.0, 1800.0) >= one.controller.closed_for(0.0)
    assert max(one.requeue_delay(0.0, 50.0) for _ in range(2000)) <= 50.0


def test_no_connection_is_wanted_for_an_empty_or_closed_lane():
    one = lane()
    assert one.connections_wanted(0.0) == 0
    one.put(Work("a", 0.0))
    assert one.connections_wanted(0.0) == 1
    one.controller.on_connect_failed(0, Signal.REFUSED, "refused", 0.0)
    assert one.connections_wanted(0.0) == 0


# -- bodies


def message(**changes: object) -> OutboundMessage:
    values: dict[str, object] = {
        "id": "m",
        "submission": "s",
        "account": "a",
        "envelope": "",
        "mail_from": "",
        "recipients": (OutboundRecipient(id="m", address="u@d.test"),),
        "received": 0.0,
        "expires": 1.0,
        "size": 1,
        "body": BodyReference(file="f", size=1),
    }
    return OutboundMessage.model_validate(values | changes)


@given(
    st.binary(max_size=200),
    st.integers(0, 200),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=5))),
)
def test_patches_are_put_in_at_their_offsets(
    stored: bytes, skip: int, inserts: list[tuple[int, bytes]]
):
    skip = min(skip, len(stored))
    places = sorted((max(skip, min(at, len(stored))), data) for at, data in inserts)
    expected, shift = bytearray(stored), 0
    for at, data in places:
        expected[at + shift : at + shift] = data
        shift += len(data)
    patches = tuple(Patch(at=at, data=data) for at, data in places)
    made = assemble(message(skip=skip, patches=patches), memoryview(b"head"), stored)
    assert b"".join(made) == b"head" + bytes(expected[skip:])


@pytest.mark.parametrize(
    "changes",
    [
        {"skip": 5},
        {"skip": -1},
        {"patches": (Patch(at=5, data=b"x"),)},
        {"patches": (Patch(at=2, data=b"x"), Patch(at=1, data=b"y"))},
        {"skip": 3, "patches": (Patch(at=2, data=b"x"),)},
    ],
)
def test_patches_that_do_not_fit_are_refused(changes: dict[str, object]):
    with pytest.raises(PatchError):
        assemble(message(**changes), memoryview(b""), b"1234")


async def test_stored_body_is_fetched_once_for_many_and_again_after_a_failure():
    fetched = []

    async def fetch(reference: BodyReference) -> bytes:
        fetched.append(reference.file)
        if len(fetched) == 1:
            raise OSError("away")
        return b"body"

    bodies = BodyReader(fetch)
    with pytest.raises(OSError, match="away"):
        await bodies.pieces(message(), memoryview(b"h"))
    for _ in range(3):
        assert b"".join(await bodies.pieces(message(), memoryview(b"h"))) == b"hbody"
    assert len(fetched) == 2


async def test_cache_of_bodies_stays_within_its_size():
    fetched = []

    async def fetch(reference: BodyReference) -> bytes:
        fetched.append(reference.file)
        return bytes(40)

    bodies = BodyReader(fetch, size=100)
    for name in "abcabc":
        await bodies.pieces(message(body=BodyReference(file=name, size=40)), memoryview(b""))
    assert len(fetched) == 6


# -- journal


def test_journal_remembers_across_processes(tmp_path: Path):
    journal = Journal(tmp_path / "spool")
    journal.open()
    taken = JournalEntry(AttemptFacts(reply="250 ok", code=250, stage="dot"), report_due=True)
    journal.delivered("m1", taken)
    journal.handed_on("m2.0")
    again = Journal(tmp_path / "spool")  # the first process was killed: nothing was closed
    again.open()
    assert again.find("m1") == taken
    assert again.was_handed_on("m2.0")
    assert again.find("m3") is None
    again.close()
    journal.close()


def test_journal_is_bounded_in_memory_and_on_disk(tmp_path: Path):
    journal = Journal(tmp_path, keep=10)
    journal.open()
    for number in range(95):
        journal.delivered(f"m{number}", JournalEntry(AttemptFacts(reply="250 ok")))
    journal.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "delivered.journal",
        "delivered.old",
    ]
    assert sum(len(p.read_bytes().splitlines()) for p in tmp_path.iterdir()) <= 20
    again = Journal(tmp_path, keep=10)
    again.open()
    assert [again.find(f"m{number}") is not None for number in (84, 85, 94)] == [False, True, True]
    again.close()


def test_journal_that_cannot_be_rotated_is_written_on(tmp_path: Path):
    journal = Journal(tmp_path, keep=5)
    journal.open()
    (tmp_path / "delivered.old").mkdir()  # nothing can take its place
    for number in range(12):
        journal.delivered(f"m{number}", JournalEntry(AttemptFacts(reply="250 ok")))
    (tmp_path / "delivered.old").rmdir()
    for number in range(12, 17):
        journal.delivered(f"m{number}", JournalEntry(AttemptFacts(reply="250 ok")))
    journal.close()
    written = (tmp_path / "delivered.old").read_text() + (
        tmp_path / "delivered.journal"
    ).read_text()
    assert [json.loads(line)[0] for line in written.splitlines()] == [f"m{n}" for n in range(17)]


def test_journal_with_a_torn_line_and_rubbish_is_read_as_far_as_it_goes(tmp_path: Path):
    lines = [
        json.dumps(["m1", {"reply": "250 ok", "of_a_later_version": 1}]),
        "rubbish",
        json.dumps({"a": 1}),
        json.dumps([1, 2]),
        '["m2", {',
    ]
    (tmp_path / "delivered.journal").write_text("\n".join(lines))
    journal = Journal(tmp_path)
    journal.open()
    assert journal.find("m1") == JournalEntry(AttemptFacts(reply="250 ok"))
    assert journal.find("m2") is None
    journal.close()


def test_the_journal_knows_the_size_of_its_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path, keep=10)
    journal.open()
    for number in range(25):
        journal.handed_on(f"{number}.0")
    journal.close()
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert journal.octets == size > 0
    again = Journal(tmp_path, keep=10)
    again.open()
    assert again.octets == size
    again.close()
