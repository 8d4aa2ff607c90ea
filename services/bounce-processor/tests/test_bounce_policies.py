"""Who is told, how fast, and when an address is suppressed."""

import itertools
from typing import get_args

import pytest

from postroad_bounce_processor.reporting.notify import can_be_told, wants_report, wants_return
from postroad_bounce_processor.reporting.pace import Pace
from postroad_bounce_processor.suppression import DAY, day_of, is_persistent
from postroad_bounce_processor.understanding.record import RecordSource, ReturnKind, Understanding
from postroad_bounce_processor.understanding.understand import same_mailbox
from postroad_common.schemas.returns import Outcome

ALL = frozenset(get_args(Outcome))


@pytest.mark.parametrize(
    ("notify", "reported"),
    [
        ((), {"failed", "expired"}),
        (("never",), set()),
        (("failure",), {"failed", "expired"}),
        (("delay",), {"delayed"}),
        (("success",), {"delivered", "relayed", "expanded"}),
        (("failure", "delay", "success"), ALL),
    ],
)
def test_notify_decides_which_outcomes_are_reported(notify: tuple[str, ...], reported: set[str]):
    assert {outcome for outcome in ALL if wants_report(notify, outcome)} == reported


def _return(kind: ReturnKind, *, standard: bool) -> Understanding:
    return Understanding(kind, RecordSource.REPORT, 0.9, standard=standard)


def test_standard_reports_are_filtered_by_notify_and_nothing_else_is():
    assert wants_return((), _return(ReturnKind.BOUNCE, standard=True))
    assert not wants_return(("never",), _return(ReturnKind.BOUNCE, standard=True))
    assert not wants_return((), _return(ReturnKind.DELAYED, standard=True))
    assert wants_return(("delay",), _return(ReturnKind.DELAYED, standard=True))
    assert not wants_return(("failure",), _return(ReturnKind.SUCCESS, standard=True))
    assert wants_return(("success",), _return(ReturnKind.SUCCESS, standard=True))
    for kind in ReturnKind:
        assert wants_return(("never",), _return(kind, standard=False))


def test_null_sender_reports_and_own_bounce_addresses_are_never_told():
    assert can_be_told("a@example.org", "mail", "bounce.example")
    assert not can_be_told("", "mail", "bounce.example")
    assert not can_be_told("a@example.org", "dsn", "bounce.example")
    assert not can_be_told("a@example.org", "forward", "bounce.example")
    assert not can_be_told("b123@BOUNCE.example", "mail", "bounce.example")


def test_a_burst_goes_at_once_and_more_is_spread_at_the_rate():
    pace = Pace(rate=2.0, burst=3.0, longest_wait=10.0)
    moments = [pace.moment("a@x", str(n), 1000.0) for n in range(6)]
    assert moments == [1000.0, 1000.0, 1000.0, 1000.5, 1001.0, 1001.5]


def test_an_origin_too_far_behind_is_left_out_and_recovers():
    pace = Pace(rate=1.0, burst=1.0, longest_wait=2.0)
    assert [pace.moment("a@x", str(n), 0.0) for n in range(4)] == [0.0, 1.0, 2.0, None]
    assert pace.moment("b@x", "other", 0.0) == 0.0
    assert pace.moment("a@x", "later", 100.0) == 100.0


def test_the_same_cause_is_answered_alike_and_counted_once():
    pace = Pace(rate=1.0, burst=1.0, longest_wait=2.0)
    assert [pace.moment("a@x", "one", float(n)) for n in range(5)] == [0.0] * 5
    assert pace.moment("a@x", "two", 0.0) == 1.0


def test_memory_of_the_pace_is_bounded():
    pace = Pace()
    for number in range(25_000):
        pace.moment(f"{number}@x", str(number), 0.0)
    assert len(pace._full_at) <= 10_000
    assert len(pace._given) <= 10_000


def test_soft_bounces_count_by_days_and_span():
    today = day_of(1_800_000_000.0)
    now = today * DAY + 100.0
    assert is_persistent({today - 8, today - 3, today}, now)
    assert not is_persistent({today - 3, today - 2, today - 1, today}, now)  # within one week
    assert not is_persistent({today - 8, today}, now)  # two days only
    assert not is_persistent({today - 60, today - 50, today}, now)  # long ago
    assert not is_persistent((), now)


def test_spellings_of_one_mailbox_are_the_same_and_others_are_not():
    same = ["kim@example.net", "KIM@Example.NET", "kim+shop@example.net", "kim@EXAMPLE.net"]
    for one, other in itertools.product(same, same):
        assert same_mailbox(one, other)
    assert same_mailbox("kim@example.net", "kim@inner.example.net")
    assert same_mailbox("kim@mx.inner.example.net", "kim@inner.example.net")
    for other in (
        "kim@example.org",
        "kim@anexample.net",
        "lee@example.net",
        "",
        "@example.net",
        "kim.lee@example.net",
    ):
        assert not same_mailbox("kim@example.net", other)
    assert not same_mailbox("", "")
