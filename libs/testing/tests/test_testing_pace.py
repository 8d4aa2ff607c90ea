"""What is timed has a limit only where speed is tested."""

import pytest

from postroad_testing.pace import at_most, timed


def test_limit_is_demanded_and_none_is_no_limit():
    with pytest.raises(AssertionError, match="at most -1 s"), at_most(-1):
        pass
    with at_most(None), at_most(600):
        pass


def test_timed_test_has_its_limit_under_the_speed_marker_only():
    _, [free, limited] = timed(5).args
    assert (free.values, list(free.marks)) == ((None,), [])
    assert (limited.values, [mark.name for mark in limited.marks]) == ((5,), ["speed"])
