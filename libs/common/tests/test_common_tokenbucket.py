"""Token buckets: what they let through, and when there is more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.tokenbucket import TokenBuckets


def test_a_bucket_is_full_at_first_and_says_when_there_is_more():
    buckets: TokenBuckets[str] = TokenBuckets(3, 0.5)
    assert [buckets.take("a", 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 2.0]
    assert buckets.wait("a", 11.0) == pytest.approx(1.0)
    assert buckets.take("a", 12.0) == 0.0
    assert buckets.take("b", 12.0, 3.0) == 0.0
    assert buckets.level("b", 12.0) == 0.0


def test_to_ask_takes_nothing_and_waiting_fills_no_further_than_full():
    buckets: TokenBuckets[str] = TokenBuckets(2, 1.0)
    assert buckets.take("a", 0.0, 2.0) == 0.0
    assert buckets.wait("a", 0.0) == 1.0
    assert buckets.wait("a", 0.0) == 1.0
    assert buckets.level("a", 1000.0) == 2.0


def test_what_is_refused_takes_nothing():
    buckets: TokenBuckets[str] = TokenBuckets(2, 1.0)
    assert buckets.take("a", 0.0, 3.0) == 1.0
    assert buckets.take("a", 0.0, 2.0) == 0.0


def test_a_bucket_that_is_forgotten_is_full_again():
    buckets: TokenBuckets[int] = TokenBuckets(1, 1.0, keys=2)
    for key in (1, 2, 3):
        assert buckets.take(key, 0.0) == 0.0
    assert buckets.take(3, 0.0) > 0.0
    assert buckets.take(1, 0.0) == 0.0


@given(st.lists(st.floats(0.0, 5.0), max_size=60))
def test_no_time_lets_more_through_than_the_capacity_and_what_it_refills(pauses: list[float]):
    buckets: TokenBuckets[str] = TokenBuckets(4, 1.5)
    now, taken = 0.0, []
    for pause in pauses:
        now += pause
        if buckets.take("a", now) == 0.0:
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= 4 + 1.5 * (taken[last] - taken[first]) + 1e-6
