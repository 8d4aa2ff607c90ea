"""The controller in virtual time, against receivers whose limits it cannot see."""

import json

import pytest
from bench.throttle.simulation import Letter, Receiver, Result, always, simulate, steps
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad_common.schemas.lanes import EffectKind, LearntLimits
from postroad_sender.throttle.bucket_estimate import BucketEstimate
from postroad_sender.throttle.controller import Caps, Controller, Effect
from postroad_sender.throttle.gcra import Gcra
from postroad_sender.throttle.signals import Signal

WIDE = Caps(connections=50)


def stored(controller: Controller, now: float, wall: float) -> LearntLimits:
    """Return what was learnt as the next process reads it, from the JSON of the store."""
    document = json.dumps(controller.learnt(now, wall).document())
    return LearntLimits.model_validate_json(document)


def rated(rate: float, seconds: int, **receiver: float) -> Result:
    return simulate(Receiver(rate=always(rate), **receiver), seconds, caps=WIDE)  # type: ignore[arg-type]


def test_hidden_connection_limit_costs_no_deferral_and_is_used_fully():
    result = simulate(Receiver(connections=always(5), round_trip=0.002), 120)
    assert result.deferred == 0
    assert result.rate_between(30, 120) >= 0.97 * 5 / (0.1 + 0.002)
    assert result.refused_connections < 0.01 * result.delivered


def test_connection_limit_that_halves_and_doubles_is_followed():
    receiver = Receiver(connections=steps((0, 10), (60, 5), (120, 10)))
    result = simulate(receiver, 160)
    each = 1 / 0.12
    assert result.found_after(60, 5 * each) <= 1
    assert result.rate_between(62, 120) == pytest.approx(5 * each, rel=0.03)
    assert result.found_after(120, 10 * each) <= 30
    assert result.deferred == 0


@pytest.mark.parametrize(("rate", "start", "end"), [(2, 120, 720), (20, 60, 300), (100, 20, 80)])
def test_hidden_rate_is_used_fully_with_under_one_percent_deferred(
    rate: float, start: int, end: int
):
    result = rated(rate, end)
    assert result.deferred_between(start, end) <= 0.01
    assert result.rate_between(start, end) >= 0.97 * rate


@pytest.mark.parametrize("burst", [1.0, 60.0])
def test_receiver_that_lets_no_burst_through_or_a_long_one_is_used_fully(burst: float):
    result = rated(20, 300, burst=burst)
    assert result.deferred_between(90, 300) <= 0.01
    assert result.rate_between(90, 300) >= 0.95 * 20


@pytest.mark.parametrize(("penalty", "growth"), [(2.0, 1.0), (1.0, 2.0)])
def test_receiver_that_bars_whoever_pushes_is_rarely_pushed(penalty: float, growth: float):
    result = rated(10, 900, penalty=penalty, growth=growth)
    assert result.deferred_between(300, 900) <= 0.005
    assert result.rate_between(300, 900) >= 0.93 * 10


def test_rate_that_halves_is_left_within_ten_seconds_and_a_doubling_found_within_thirty():
    receiver = Receiver(rate=steps((0, 50), (60, 25), (120, 50)))
    result = simulate(receiver, 170, caps=WIDE)
    assert result.calm_after(60) <= 10
    assert result.found_after(60, 25) <= 10
    assert result.deferred_between(70, 120) <= 0.01
    assert result.found_after(120, 50) <= 30


def test_slow_rate_that_halves_is_left_within_ten_seconds():
    result = simulate(Receiver(rate=steps((0, 5), (200, 2.5))), 300, caps=WIDE)
    assert result.calm_after(200) <= 10


def test_slow_rate_that_doubles_is_found_within_two_hundred_messages():
    result = simulate(Receiver(rate=steps((0, 2.5), (300, 5))), 400, caps=WIDE)
    assert result.found_after(300, 5) <= 200 / 2.5


def test_full_mailboxes_and_greylisting_slow_nothing():
    noisy = simulate(Receiver(connections=always(5), noise=0.3), 60)
    calm = simulate(Receiver(connections=always(5)), 60)
    assert noisy.delivered + noisy.excused == pytest.approx(calm.delivered, rel=0.03)


# -- replies that get slower


@pytest.mark.parametrize(("steep", "best"), [(1.0, 97.0), (2.0, 89.5)])
def test_connections_that_gain_nothing_are_given_back(steep: float, best: float):
    result = simulate(Receiver(knee=10.0, steep=steep), 120, caps=WIDE)
    assert max(result.windows[60:120]) <= 18
    assert result.rate_between(60, 120) >= 0.93 * best


@pytest.mark.parametrize(
    "receiver",
    [
        Receiver(seconds=2.0),
        Receiver(spread=1.0),
        Receiver(load=steps((0, 1.0), (40, 3.0))),
    ],
    ids=["slow", "uneven", "loaded"],
)
def test_replies_that_are_slow_for_other_reasons_cost_no_connections(receiver: Receiver):
    result = simulate(receiver, 90)
    assert sorted(result.windows[40:90])[15] >= 19


def slowed() -> Controller:
    """One that has found out that fewer connections do as much as 40."""
    controller = Controller(Caps(connections=40), 0.0)
    now = 0.0
    for _ in range(4000):
        busy = controller.connections(now)
        now += 0.1 / min(10, busy)
        controller.on_success(busy, now, 0.1 * max(1.0, busy / 10))
    return controller


def test_restriction_by_latency_says_why_and_can_be_cancelled_pinned_and_kept():
    controller = slowed()
    (effect,) = controller.effects(100.0)
    assert effect.kind is EffectKind.CONNECTIONS
    assert 8 <= effect.value <= 20
    assert effect.reason.startswith("replies slow down: ")
    again = Controller(Caps(connections=40), 0.0)
    again.restore(stored(controller, 100.0, 5000.0), 1.0, 5001.0)
    (kept,) = again.effects(1.0)
    assert (kept.value, kept.reason) == (effect.value, effect.reason)
    controller.pin(EffectKind.CONNECTIONS, 30, "they said so", 100.0)
    assert controller.connections(100.0) == 30
    controller.cancel(EffectKind.CONNECTIONS, 101.0)
    assert controller.effects(101.0) == []


def test_trial_ends_when_the_rate_is_what_holds_messages_back():
    controller, now = Controller(Caps(connections=40), 0.0), 0.0
    while controller.connections(now) >= int(controller.window.size):  # until a trial begins
        busy = controller.connections(now)
        now += 0.1 / min(10, busy)
        controller.on_success(busy, now, 0.1 * max(1.0, busy / 10))
        assert now < 60
    for _ in range(2):
        controller.on_throttled(Signal.RATE, "450", now, now)
    controller.on_sent(now)
    assert controller.wait(now) > 0.0
    controller.on_success(1, now, 0.1)
    assert controller.connections(now) == controller.window.allowed()


# -- objections and pauses


def test_one_objection_slows_nothing_and_a_second_one_does():
    controller = Controller(Caps(), 0.0)
    controller.on_throttled(Signal.RATE, "450 slow down", 1.0, 1.0)
    assert controller.rate.limit is None
    controller.on_throttled(Signal.RATE, "450 slow down", 2.0, 2.0)
    assert controller.rate.limit is not None
    (effect,) = controller.effects(2.0)
    assert (effect.kind, effect.reason) == (EffectKind.RATE, "450 slow down")


def test_objections_rare_among_successes_slow_nothing():
    controller = Controller(Caps(), 0.0)
    for second in range(1, 2000):
        now = second / 10
        if second % 50 == 0:
            controller.on_throttled(Signal.POLICY, "450 no", now, now)
        else:
            controller.on_success(1, now)
    assert controller.effects(200.0) == []


def test_what_was_sent_before_a_cut_does_not_cut_again():
    controller = Controller(Caps(), 0.0)
    for _ in range(2):
        controller.on_throttled(Signal.RATE, "450", 1.0, 1.0)
    limit = controller.rate.limit
    for _ in range(20):
        controller.on_throttled(Signal.RATE, "450", 0.9, 1.1)
    assert controller.rate.limit == limit


def test_reputation_pauses_longer_each_time():
    controller = Controller(Caps(), 0.0)
    now, pauses = 0.0, []
    for _ in range(3):
        for _ in range(2):
            now += 1.0
            controller.on_throttled(Signal.REPUTATION, "421 complaints", now, now)
        pauses.append(controller.closed_for(now))
        now += pauses[-1]
    assert pauses[0] >= 60
    assert pauses[1] >= 1.8 * pauses[0] * 0.9
    assert pauses[2] > pauses[1]


def test_stated_delay_of_the_lane_is_honoured():
    controller = Controller(Caps(), 0.0)
    for _ in range(2):
        controller.on_throttled(Signal.RATE, "450 try again in 90 seconds", 5.0, 5.0, 90.0)
    assert 90 <= controller.closed_for(5.0) <= 100
    assert controller.connections(5.0) == 0


def test_dead_site_closes_the_lane_ever_longer_and_opens_with_one_connection():
    controller = Controller(Caps(closed_longest=60), 0.0)
    now, waits = 0.0, []
    for _ in range(9):
        controller.on_connect_failed(0, Signal.REFUSED, "connection refused", now)
        waits.append(controller.closed_for(now))
        now += waits[-1] + 0.01
    assert waits[0] < 2
    assert 60 <= waits[-1] <= 66
    assert controller.connections(now) == 1
    controller.on_connected(1, now)
    controller.on_success(1, now)
    controller.on_connect_failed(0, Signal.REFUSED, "connection refused", now)
    assert controller.closed_for(now) < 2


def test_window_grows_only_while_it_is_used():
    controller = Controller(Caps(), 0.0)
    for _ in range(100):
        controller.on_success(1, 1.0)
    assert controller.connections(1.0) == 2
    for _ in range(100):
        controller.on_success(controller.connections(1.0), 1.0)
    assert controller.connections(1.0) == 20


def test_cap_is_never_exceeded():
    controller = Controller(Caps(connections=3, messages_per_second=10), 0.0)
    for _ in range(200):
        controller.on_success(controller.connections(1.0), 1.0)
    assert controller.connections(1.0) == 3
    sent, now = 0, 2.0
    while now < 12.0:
        wait = controller.wait(now)
        if wait <= 0:
            controller.on_sent(now)
            controller.on_success(1, now)
            sent += 1
        else:
            now += wait
    assert sent <= 102


def test_operator_cancels_and_pins():
    controller = Controller(Caps(), 0.0)
    for _ in range(2):
        controller.on_throttled(Signal.RATE, "450", 1.0, 1.0)
    controller.cancel(EffectKind.RATE, 2.0)
    assert controller.effects(2.0) == []
    assert controller.wait(2.0) == 0.0
    controller.pin(EffectKind.PAUSE, 100.0, "maintenance", 2.0)
    controller.pin(EffectKind.CONNECTIONS, 7, "agreed with them", 2.0)
    assert controller.closed_for(3.0) == 97.0
    assert controller.why_closed() == "maintenance"
    controller.cancel(EffectKind.PAUSE, 3.0)
    assert controller.connections(3.0) == 7
    assert [effect.pinned for effect in controller.effects(3.0)] == [True]


def test_what_was_learnt_survives_a_restart_on_another_clock():
    controller = Controller(Caps(), 1000.0)
    controller.on_connected(5, 1000.0)
    controller.on_connect_failed(4, Signal.CONNECTIONS, "421 too many", 1001.0)
    for _ in range(2):
        controller.on_throttled(Signal.RATE, "450 try later", 1002.0, 1002.0, 60.0)
    controller.rate.penalty.length = 12.0
    controller.pin(EffectKind.PAUSE, 1100.0, "by hand", 1002.0)
    again = Controller(Caps(), 7.0)
    again.restore(stored(controller, 1003.0, 5_000_000.0), 7.0, 5_000_002.0)
    assert again.window.ceiling == 4
    assert again.rate.limit == pytest.approx(controller.rate.limit)
    assert again.rate.penalty.length == 12.0
    assert again.closed_for(7.0) == pytest.approx(1100.0 - 1005.0)
    assert {e.kind: e.reason for e in again.effects(7.0)} == {
        e.kind: e.reason for e in controller.effects(1003.0)
    }


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["took", "objected", "refused", "closed", "policy", "simulated", "cancel"]
            ),
            st.floats(0, 20),
            st.floats(0, 3),
        ),
        max_size=80,
    )
)
@settings(max_examples=60)
def test_whatever_happens_the_lane_goes_on_within_its_caps(
    happened: list[tuple[str, float, float]],
):
    caps = Caps(connections=7, messages_per_second=100.0)
    controller, now = Controller(caps, 0.0), 0.0
    for what, passed, ago in happened:
        now += passed
        allowed = controller.connections(now)
        assert 0 <= allowed <= caps.connections
        wait = controller.wait(now)
        assert 0.0 <= wait < 4000.0
        if wait == 0.0:
            controller.on_sent(now)
        if what == "took":
            controller.on_success(max(1, allowed), now, ago)
        elif what in {"objected", "policy"}:
            signal = Signal.RATE if what == "objected" else Signal.POLICY
            controller.on_throttled(signal, "450", now - ago, now)
        elif what in {"refused", "closed"}:
            working = allowed if what == "refused" else 0
            controller.on_connect_failed(working, Signal.CONNECTIONS, "421", now)
        elif what == "simulated":
            controller.simulate({EffectKind.RATE} if ago > 1.5 else ())
        else:
            controller.cancel(EffectKind.RATE, now)
        assert all(effect.value >= 0.0 for effect in controller.effects(now))
    stored(controller, now, 1e9)
    now += 4000.0
    controller.simulate(())
    assert controller.wait(now) == 0.0
    assert controller.connections(now) >= 1


# -- simulations


def shown(controller: Controller, now: float) -> dict[EffectKind, Effect]:
    return {effect.kind: effect for effect in controller.effects(now)}


def test_simulation_shows_what_it_would_do_and_does_nothing():
    controller = Controller(Caps(connections=15), 0.0)
    controller.simulate(set(EffectKind))
    controller.on_connected(9, 1.0)
    for tick in range(300):
        now = 1.0 + tick / 10
        controller.on_sent(now)
        controller.on_success(9, now, 0.05)
    for _ in range(4):
        controller.on_throttled(Signal.RATE, "450 slow down", 31.0, 31.0, 60.0)
    controller.on_connect_failed(9, Signal.CONNECTIONS, "421 too many", 31.0)
    effects = shown(controller, 33.0)
    assert set(effects) == set(EffectKind)
    assert all(effect.simulated for effect in effects.values())
    assert effects[EffectKind.RATE].value == pytest.approx(8.5, rel=0.1)
    assert effects[EffectKind.CONNECTIONS].value == 9
    assert effects[EffectKind.PAUSE].value >= 31 + 60
    assert controller.wait(33.0) == 0.0
    assert controller.connections(33.0) == 15


def test_what_was_learnt_in_a_simulation_holds_after_it():
    controller = Controller(Caps(), 0.0)
    controller.simulate({EffectKind.RATE})
    for _ in range(2):
        controller.on_throttled(Signal.RATE, "450", 1.0, 1.0)
    assert controller.wait(1.0) == 0.0
    controller.simulate(())
    (effect,) = controller.effects(2.0)
    assert not effect.simulated
    controller.on_sent(2.0)
    assert controller.wait(2.0) == pytest.approx(1 / effect.value, abs=0.03)


def test_simulation_keeps_to_caps_and_pins():
    controller = Controller(Caps(connections=3, messages_per_second=2.0), 0.0)
    controller.simulate(set(EffectKind))
    controller.on_sent(1.0)
    assert controller.wait(1.0) > 0.4
    assert controller.connections(1.0) == 3
    controller.pin(EffectKind.PAUSE, 9.0, "by hand", 1.0)
    assert controller.connections(1.0) == 0
    assert not shown(controller, 1.0)[EffectKind.PAUSE].simulated


def test_simulation_does_not_call_a_closed_site_or_a_full_one_in_a_loop():
    controller = Controller(Caps(connections=5), 0.0)
    controller.simulate(set(EffectKind))
    for _ in range(9):
        controller.on_connect_failed(0, Signal.REFUSED, "refused", 10.0)
    assert 0.9 <= controller.closed_for(10.0) <= 1.2
    assert controller.closed_for(11.2) == 0.0
    controller.on_connect_failed(2, Signal.CONNECTIONS, "421 too many", 20.0)
    assert controller.connections(20.5) == 2
    assert controller.connections(21.5) == 5


def test_simulation_leaves_the_receiver_to_its_own_devices():
    free = simulate(Receiver(connections=always(5), rate=always(20)), 20, simulated=set(EffectKind))
    held = simulate(Receiver(connections=always(5), rate=always(20)), 20)
    assert free.deferred_share > 0.4 > held.deferred_share


# -- fairness


def test_accounts_with_few_messages_do_not_wait_for_one_with_many():
    letters = [Letter("big", 0.0, "big") for _ in range(2000)]
    letters += [Letter(name, 30.0 + at, name) for at in range(5) for name in "abcde"]
    result = simulate(Receiver(rate=always(10)), 60, letters=letters)
    assert [len(result.waits[name]) for name in "abcde"] == [5] * 5
    assert max(wait for name in "abcde" for wait in result.waits[name]) <= 2.0


# -- buckets


@given(st.floats(1, 50), st.integers(2, 30), st.floats(1.2, 4))
def test_bucket_tells_rate_and_allowance_from_one_objection(
    rate: float, allowance: int, excess: float
):
    bucket, tokens, now = BucketEstimate(), float(allowance), 0.0
    while True:
        bucket.on_sent(now)
        if tokens < 1.0:
            break
        tokens -= 1.0
        passed = 1 / (rate * excess)
        now += passed
        tokens = min(allowance, tokens + passed * rate)
        if bucket.sent_before(now) > 200:
            return
    bucket.suppose(rate, now, 0.0)
    bucket.counted(rate * 1.01)
    assert bucket.allowance == pytest.approx(max(allowance, 0.7 * 6), abs=1.5)
    bucket.allowance = float(allowance)
    span = bucket.sent_before(now) / (rate * excess)
    assert bucket.rate_at(now, 0.0) == pytest.approx(rate, abs=2.5 / span)


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
