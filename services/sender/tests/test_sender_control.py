"""The controller in virtual time, against receivers whose limits it cannot see."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_sender.control import Caps, Controller, Kind
from postroad_sender.gcra import Gcra
from postroad_sender.signals import Signal
from postroad_sender.simulation import (
    POSTFIX_FEEDBACK,
    Receiver,
    always,
    simulate,
    simulate_postfix,
    steps,
)


@pytest.mark.parametrize(
    ("feedback", "published"), [("1", 0.497), ("1/sqrt N", 0.245), ("1/N", 0.165)]
)
def test_model_reproduces_the_deferrals_that_postfix_publishes(feedback: str, published: float):
    receiver = Receiver(connections=always(5), round_trip=0.002)
    result = simulate_postfix(receiver, 300, POSTFIX_FEEDBACK[feedback])
    assert result.deferred_share == pytest.approx(published, abs=0.02)


def test_hidden_connection_limit_costs_no_deferral_and_is_used_fully():
    result = simulate(Receiver(connections=always(5), round_trip=0.002), 300)
    assert result.deferred == 0
    capacity = 5 / (0.1 + 0.002)
    assert result.rate_between(30, 300) >= 0.95 * capacity
    assert result.refused_connections < 0.01 * result.delivered


def test_connection_limit_that_halves_and_doubles_is_followed():
    receiver = Receiver(connections=steps((0, 10), (60, 5), (120, 10)))
    result = simulate(receiver, 180)
    each = 1 / 0.12
    assert result.rate_between(65, 120) == pytest.approx(5 * each, rel=0.05)
    assert result.rate_between(150, 180) >= 0.95 * 10 * each
    assert result.deferred == 0


@pytest.mark.parametrize("rate", [50, 200])
def test_hidden_rate_is_used_nearly_fully_with_under_one_percent_deferred(rate: float):
    result = simulate(Receiver(rate=always(rate)), 300, caps=Caps(connections=50))
    assert result.deferred_between(60, 300) <= 0.01
    assert result.rate_between(60, 300) >= 0.9 * rate


@pytest.mark.parametrize("rate", [1, 5])
def test_hidden_slow_rate_is_used_fully_with_under_one_percent_deferred(rate: float):
    result = simulate(Receiver(rate=always(rate)), 1200, caps=Caps(connections=50))
    assert result.deferred_between(240, 1200) <= 0.01
    assert result.rate_between(240, 1200) >= 0.97 * rate


def test_slow_rate_that_doubles_is_found_within_thirty_seconds():
    receiver = Receiver(rate=steps((0, 2.5), (300, 5)))
    result = simulate(receiver, 400, caps=Caps(connections=50))
    assert max(result.rate_between(at, at + 10) for at in range(300, 321)) >= 0.9 * 5


def test_receiver_that_bars_whoever_pushes_is_left_alone_and_its_rate_not_forgotten():
    receiver = Receiver(rate=always(10), penalty=2.0)
    result = simulate(receiver, 600, caps=Caps(connections=50))
    assert result.deferred_between(60, 600) <= 0.04
    assert result.rate_between(300, 600) >= 0.4 * 10


def test_full_mailboxes_and_greylisting_slow_nothing():
    noisy = simulate(Receiver(connections=always(5), noise=0.3), 60)
    calm = simulate(Receiver(connections=always(5)), 60)
    assert noisy.delivered + noisy.excused == pytest.approx(calm.delivered, rel=0.03)


def test_rate_that_halves_is_left_within_ten_seconds_and_a_doubling_found_within_thirty():
    receiver = Receiver(rate=steps((0, 50), (100, 25), (200, 50)))
    result = simulate(receiver, 260, caps=Caps(connections=50))
    assert result.rate_between(110, 120) >= 0.75 * 25
    assert result.deferred_between(110, 200) <= 0.01
    assert result.rate_between(230, 260) >= 0.8 * 50


def test_one_objection_slows_nothing_and_a_second_one_does():
    controller = Controller(Caps(), 0.0)
    controller.objected(Signal.RATE, "450 slow down", 1.0, 1.0)
    assert controller.rate.limit is None
    controller.objected(Signal.RATE, "450 slow down", 2.0, 2.0)
    assert controller.rate.limit is not None
    (effect,) = controller.effects(2.0)
    assert (effect.kind, effect.reason) == (Kind.RATE, "450 slow down")


def test_objections_rare_among_successes_slow_nothing():
    controller = Controller(Caps(), 0.0)
    for second in range(1, 2000):
        now = second / 10
        if second % 50 == 0:
            controller.objected(Signal.POLICY, "450 no", now, now)
        else:
            controller.took(1, now)
    assert controller.effects(200.0) == []


def test_what_was_sent_before_a_cut_does_not_cut_again():
    controller = Controller(Caps(), 0.0)
    for _ in range(2):
        controller.objected(Signal.RATE, "450", 1.0, 1.0)
    limit = controller.rate.limit
    for _ in range(20):
        controller.objected(Signal.RATE, "450", 0.9, 1.1)
    assert controller.rate.limit == limit


def test_reputation_pauses_longer_each_time():
    controller = Controller(Caps(), 0.0)
    now, pauses = 0.0, []
    for _ in range(3):
        for _ in range(2):
            now += 1.0
            controller.objected(Signal.REPUTATION, "421 complaints", now, now)
        pauses.append(controller.closed_for(now))
        now += pauses[-1]
    assert pauses[0] >= 60
    assert pauses[1] >= 1.8 * pauses[0] * 0.9
    assert pauses[2] > pauses[1]


def test_stated_delay_of_the_lane_is_honoured():
    controller = Controller(Caps(), 0.0)
    for _ in range(2):
        controller.objected(Signal.RATE, "450 try again in 90 seconds", 5.0, 5.0, 90.0)
    assert 90 <= controller.closed_for(5.0) <= 100
    assert controller.connections(5.0) == 0


def test_dead_site_closes_the_lane_ever_longer_and_opens_with_one_connection():
    controller = Controller(Caps(closed_longest=60), 0.0)
    now, waits = 0.0, []
    for _ in range(9):
        controller.not_opened(0, Signal.REFUSED, "connection refused", now)
        waits.append(controller.closed_for(now))
        now += waits[-1] + 0.01
    assert waits[0] < 2
    assert 60 <= waits[-1] <= 66
    assert controller.connections(now) == 1
    controller.opened(1, now)
    controller.not_opened(0, Signal.REFUSED, "connection refused", now)
    assert controller.closed_for(now) < 2


def test_window_grows_only_while_it_is_used():
    controller = Controller(Caps(), 0.0)
    for _ in range(100):
        controller.took(1, 1.0)
    assert controller.connections(1.0) == 2
    for _ in range(100):
        controller.took(controller.connections(1.0), 1.0)
    assert controller.connections(1.0) == 20


def test_cap_is_never_exceeded():
    controller = Controller(Caps(connections=3, messages_per_second=10), 0.0)
    for _ in range(200):
        controller.took(controller.connections(1.0), 1.0)
    assert controller.connections(1.0) == 3
    sent, now = 0, 2.0
    while now < 12.0:
        wait = controller.wait(now)
        if wait <= 0:
            controller.sent(now)
            controller.took(1, now)
            sent += 1
        else:
            now += wait
    assert sent <= 102


def test_operator_cancels_and_pins():
    controller = Controller(Caps(), 0.0)
    for _ in range(2):
        controller.objected(Signal.RATE, "450", 1.0, 1.0)
    controller.cancel(Kind.RATE, 2.0)
    assert controller.effects(2.0) == []
    assert controller.wait(2.0) == 0.0
    controller.pin(Kind.PAUSE, 100.0, "maintenance", 2.0)
    controller.pin(Kind.CONNECTIONS, 7, "agreed with them", 2.0)
    assert controller.closed_for(3.0) == 97.0
    assert controller.why_closed() == "maintenance"
    controller.cancel(Kind.PAUSE, 3.0)
    assert controller.connections(3.0) == 7
    assert [effect.pinned for effect in controller.effects(3.0)] == [True]


def test_what_was_learnt_survives_a_restart_on_another_clock():
    controller = Controller(Caps(), 1000.0)
    controller.opened(5, 1000.0)
    controller.not_opened(4, Signal.CONNECTIONS, "421 too many", 1001.0)
    for _ in range(2):
        controller.objected(Signal.RATE, "450 try later", 1002.0, 1002.0, 60.0)
    controller.pin(Kind.PAUSE, 1100.0, "by hand", 1002.0)
    state = json.loads(json.dumps(controller.to_state(1003.0, 5_000_000.0)))
    again = Controller(Caps(), 7.0)
    again.restore(state, 7.0, 5_000_002.0)
    assert again.window.ceiling == 4
    assert again.rate.limit == pytest.approx(controller.rate.limit)
    assert again.closed_for(7.0) == pytest.approx(1100.0 - 1005.0)
    assert {e.kind: e.reason for e in again.effects(7.0)} == {
        e.kind: e.reason for e in controller.effects(1003.0)
    }


@given(st.floats(0.1, 1000), st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_gcra_never_lets_more_through_than_its_rate(rate: float, gaps: list[float]):
    gcra, now, passed = Gcra(), 0.0, []
    for gap in gaps:
        now += gap
        if gcra.wait(now) <= 0.0:
            gcra.spend(now, rate)
            passed.append(now)
    for first, last in ((a, b) for a in range(len(passed)) for b in range(a, len(passed))):
        span = passed[last] - passed[first]
        assert last - first <= (span + gcra.tolerance) * rate + 1e-6
