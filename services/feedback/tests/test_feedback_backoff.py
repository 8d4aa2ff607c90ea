"""When failed calls are tried again: later each time, never all at once, for three days."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_feedback.backoff import GIVE_UP_SECONDS, RESTS_AFTER, next_try, rest

DOCUMENTED = [5, 30, 120, 600, 1800, 3600, 7200, 14_400]
"""Seconds, as docs/webhooks.md has them."""


@given(st.integers(1, 200))
def test_next_try_is_around_the_documented_wait(tries: int):
    wanted = DOCUMENTED[min(tries, len(DOCUMENTED)) - 1]
    assert 0.8 * wanted <= next_try(tries) <= 1.2 * wanted


def test_deliveries_that_failed_together_are_not_tried_together_again():
    waits = [next_try(3) for _ in range(200)]
    assert max(waits) - min(waits) > 0.2 * DOCUMENTED[2]


def test_three_days_are_some_twenty_five_tries():
    moments = itertools.accumulate(next_try(tries) for tries in itertools.count(1))
    tries = sum(1 for _ in itertools.takewhile(lambda moment: moment < GIVE_UP_SECONDS, moments))
    assert 22 <= tries <= 30


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (3, 0), (4, 5), (6, 20), (99, 1800)])
def test_end_point_rests_longer_with_each_failure_in_a_row(failures: int, seconds: float):
    assert RESTS_AFTER == 4
    assert 0.8 * seconds <= rest(failures) <= 1.2 * seconds
