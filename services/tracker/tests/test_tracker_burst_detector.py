from hypothesis import given
from hypothesis import strategies as st

from postroad_tracker.burst_detector import BURST, HEAD_FIRST, BurstDetector


def test_two_links_of_a_message_within_a_second_are_a_machine_and_the_first_is_amended():
    burst_detector = BurstDetector()
    assert burst_detector.click("m", 0, "first", 100.0).machine == ""
    verdict = burst_detector.click("m", 1, "second", 100.4)
    assert verdict.machine == BURST
    assert list(verdict.amend) == ["first"]
    third = burst_detector.click("m", 2, "third", 101.2)
    assert third.machine == BURST
    assert list(third.amend) == []


def test_one_link_clicked_twice_within_a_second_is_a_double_click():
    burst_detector = BurstDetector()
    burst_detector.click("m", 3, "first", 100.0)
    assert burst_detector.click("m", 3, "second", 100.2).machine == ""


def test_two_links_with_more_than_a_second_between_are_a_reader():
    burst_detector = BurstDetector()
    burst_detector.click("m", 0, "first", 100.0)
    assert burst_detector.click("m", 1, "second", 101.5).machine == ""


def test_links_of_different_messages_do_not_make_a_burst():
    burst_detector = BurstDetector()
    burst_detector.click("m", 0, "first", 100.0)
    assert burst_detector.click("n", 1, "second", 100.1).machine == ""


def test_get_after_head_of_the_same_link_is_a_machine_for_a_minute():
    burst_detector = BurstDetector()
    burst_detector.head("m", 7, 100.0)
    assert burst_detector.click("m", 7, "a", 102.0).machine == HEAD_FIRST
    assert burst_detector.click("m", 7, "b", 170.0).machine == ""


def test_a_flood_is_cut_off_and_let_in_again_an_hour_later():
    burst_detector = BurstDetector(flood_limit=5)
    assert [burst_detector.admit("m", 10.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert burst_detector.admit("other", 10.0)
    assert burst_detector.admit("m", 10.0 + 3600)


def test_memory_is_bounded_by_the_number_of_messages():
    burst_detector = BurstDetector(capacity=10)
    for number in range(1000):
        burst_detector.click(f"m{number}", 0, "x", 1.0)
    assert len(burst_detector._messages) == 10


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=60))
def test_every_click_with_another_link_in_the_second_before_is_labelled(
    clicks: list[tuple[int, float]],
):
    burst_detector = BurstDetector()
    clicks = sorted(clicks, key=lambda click: click[1])
    labelled: set[str] = set()
    for index, (link, time) in enumerate(clicks):
        verdict = burst_detector.click("m", link, str(index), time)
        labelled |= set(verdict.amend)
        if verdict.machine:
            labelled.add(str(index))
    for index, (link, time) in enumerate(clicks):
        near = [c for i, c in enumerate(clicks) if i != index and abs(c[1] - time) <= 1.0]
        if any(other != link for other, _ in near):
            assert str(index) in labelled
