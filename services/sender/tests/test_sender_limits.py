"""Rates, connections, daily quotas and shares of sources: bookkeeping in virtual time."""

import asyncio
import math
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad_common.errors import StoreAway
from postroad_common.store.leases import Division, Grant
from postroad_sender.limits.cluster_limit import ClusterLimit, ClusterLimits
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.limits.daily_quota import DailyQuota
from postroad_sender.limits.rate_limit import RateLimit, may_pass

DAY = 86_400.0


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes only by its timers."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def run_for(self, seconds: float) -> None:
        """Let the time pass, timer by timer."""
        end = self.now + seconds
        self.commit()
        while True:
            due = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
            if not due or min(due) > end:
                break
            self.now = max(self.now, min(due))
            self.commit()
        self.now = end
        self.commit()

    def commit(self) -> None:
        """Run what can run now."""
        for _ in range(10_000):
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready:  # type: ignore[attr-defined]
                return
        raise AssertionError("something keeps the loop busy")


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Virtual time."""
    loop = Clock()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        loop.close()
        asyncio.set_event_loop(None)


class Store:
    """Leases in memory, as the database keeps them; may be away, and may lose answers."""

    def __init__(self) -> None:
        self.leased: dict[tuple[str, int], int] = {}
        self.cluster: dict[str, Division] = {}
        self.away = False
        self.lose = False  # somebody else is always faster
        self.trips = 0

    async def lease(self, name: str, day: int, many: int, most: int) -> Grant:
        self._trip()
        before = self.leased.get((name, day), 0)
        after = self.leased[name, day] = max(before, min(most, before + many))
        return Grant(after - before, after)

    async def give_back(self, name: str, day: int, many: int) -> None:
        self._trip()
        self.leased[name, day] -= many

    async def divisions(self, names: Iterable[str]) -> dict[str, Division]:
        self._trip()
        return {name: self.cluster[name] for name in names if name in self.cluster}

    async def divide(self, name: str, division: Division) -> bool:
        self._trip()
        if self.lose or self.cluster.get(name, Division()).revision != division.revision:
            return False
        self.cluster[name] = Division(division.revision + 1, division.held, division.wanted)
        return True

    def _trip(self) -> None:
        self.trips += 1
        if self.away:
            raise StoreAway("away")


class Lane:
    """Sends whenever it may, one message each time that it is woken."""

    def __init__(
        self, loop: Clock, rate_limit: RateLimit | None = None, quota: DailyQuota | None = None
    ) -> None:
        self.loop, self.rate_limit, self.quota = loop, rate_limit, quota
        self.other: RateLimit | None = None
        self.sent: list[float] = []
        self.kicks = 0
        self.left = 10**9

    @property
    def is_waiting(self) -> bool:
        return self.left > 0

    def schedule(self) -> None:
        self.kicks += 1
        while self.left and self._may():
            if self.quota is not None:
                self.quota.spend()
            for rate_limit in (self.rate_limit, self.other):
                if rate_limit is not None:
                    rate_limit.spend(self.loop.time())
            self.left -= 1
            self.sent.append(self.loop.time())

    def _may(self) -> bool:
        if self.quota is not None and not self.quota.may(self):
            return False
        rate_limits = [
            rate_limit for rate_limit in (self.rate_limit, self.other) if rate_limit is not None
        ]
        return may_pass(rate_limits, self, self.loop.time(), ready=False)


def most_within(moments: Iterable[float], seconds: float = 1.0) -> int:
    """Return the most that fall into any span of `seconds`."""
    times = sorted(moments)
    first, most = 0, 0
    for last, moment in enumerate(times):
        while times[first] <= moment - seconds + 1e-9:
            first += 1
        most = max(most, last - first + 1)
    return most


# -- pace


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.0, 10.0, 100.0])
def test_pace_is_kept_in_every_second_and_is_shared_in_turn(clock: Clock, rate: float):
    rate_limit = RateLimit(rate)
    lanes = [Lane(clock, rate_limit) for _ in range(7)]
    for lane in lanes:
        clock.call_soon(lane.schedule)
    seconds = 20.0 / rate + 10.0
    clock.run_for(seconds)
    sent = [moment for lane in lanes for moment in lane.sent]
    assert most_within(sent, max(1.0, 1.0 / rate)) <= math.ceil(rate)
    assert len(sent) >= 0.9 * rate * seconds
    counts = [len(lane.sent) for lane in lanes]
    assert max(counts) - min(counts) <= 2 + 0.1 * max(counts)


def test_a_thousand_lanes_behind_one_pace_are_woken_only_as_often_as_messages_pass(clock: Clock):
    rate_limit = RateLimit(10.0)
    lanes = [Lane(clock, rate_limit) for _ in range(1000)]
    for lane in lanes:
        clock.call_soon(lane.schedule)
    clock.run_for(20.0)
    sent = sum(len(lane.sent) for lane in lanes)
    woken = sum(lane.kicks for lane in lanes) - len(lanes)
    assert sent >= 180
    assert woken <= 2 * sent + 10


def test_lanes_behind_two_paces_all_get_on_and_both_paces_hold(clock: Clock):
    one, other = RateLimit(10.0), RateLimit(11.0)
    lanes = [Lane(clock, one) for _ in range(9)]
    for lane in lanes[::2]:
        lane.other = other
        clock.call_soon(lane.schedule)
    for lane in lanes[1::2]:
        lane.rate_limit, lane.other = other, one
        clock.call_soon(lane.schedule)
    clock.run_for(30.0)
    sent = [moment for lane in lanes for moment in lane.sent]
    assert most_within(sent) <= 10
    assert len(sent) >= 0.8 * 10 * 30
    assert min(len(lane.sent) for lane in lanes) >= len(sent) / len(lanes) / 2


def test_lane_that_has_nothing_to_send_any_more_does_not_keep_its_turn(clock: Clock):
    rate_limit = RateLimit(1.0)
    gone, there = Lane(clock, rate_limit), Lane(clock, rate_limit)
    for lane in (gone, there):
        clock.call_soon(lane.schedule)
    clock.commit()
    gone.left = 0
    clock.run_for(10.0)
    assert len(there.sent) >= 8


def test_nothing_begins_before_the_last_owner_s_message_is_a_message_s_time_ago(clock: Clock):
    rate_limit = RateLimit(2.0)
    lane = Lane(clock, rate_limit)
    clock.call_soon(lane.schedule)
    clock.run_for(3.0)
    rate_limit.release()
    clock.call_soon(lane.schedule)
    moment = clock.time()
    clock.run_for(3.0)
    assert min(sent for sent in lane.sent if sent > moment) >= moment + 0.5


# -- slots


def test_freed_slot_goes_on_to_the_next_where_the_first_has_no_use_for_it(clock: Clock):
    connection_limit = ConnectionLimit(1)
    taken: list[str] = []

    class Wanting:
        is_waiting = True

        def __init__(self, name: str, *, wants: bool) -> None:
            self.name, self.wants = name, wants

        def schedule(self) -> None:
            if self.wants and connection_limit.acquire(self):
                taken.append(self.name)

    first = Wanting("first", wants=True)
    first.schedule()
    for waiter in (Wanting("idle", wants=False), Wanting("second", wants=True)):
        assert not connection_limit.acquire(waiter)
    clock.call_soon(connection_limit.release)
    clock.commit()
    assert taken == ["first", "second"]
    assert connection_limit.used == 1


# -- quotas


def quota(store: Store, most: int | None, wall: list[float]) -> DailyQuota:
    return DailyQuota("t", lambda _: most, store, what="cap of x", kind="cap", wall=lambda: wall[0])


@given(
    most=st.integers(1, 400),
    steps=st.lists(
        st.tuples(st.sampled_from(["send", "crash", "leave", "away", "back"]), st.integers(0, 2)),
        max_size=40,
    ),
)
@settings(max_examples=60, deadline=None)
def test_number_of_a_day_is_never_exceeded_by_processes_that_crash_leave_and_lose_the_store(
    most: int, steps: list[tuple[str, int]]
):
    clock, store, wall = Clock(), Store(), [100 * DAY + 5.0]
    lanes = [Lane(clock, quota=quota(store, most, wall)) for _ in range(3)]
    sent, left_alone = 0, True
    for what, who in steps:
        lane = lanes[who]
        if what == "send":
            lane.left = 60
            clock.call_soon(lane.schedule)
        elif what in {"leave", "crash"}:
            if what == "leave":
                clock.run_until_complete(lane.quota.close())  # type: ignore[union-attr]
            else:
                left_alone = False
            sent += len(lane.sent)
            lanes[who] = Lane(clock, quota=quota(store, most, wall))
        else:
            store.away = what == "away"
            left_alone = left_alone and what != "away"
        wall[0] += 11.0
        clock.commit()
    before = sum(len(lane.sent) for lane in lanes)
    sent += before
    assert sent <= most
    if left_alone:
        lane = lanes[0]
        for other in lanes[1:]:
            clock.run_until_complete(other.quota.close())  # type: ignore[union-attr]
        lane.left = 10**6
        for _ in range(3):
            wall[0] += 40.0
            clock.call_soon(lane.schedule)
            clock.commit()
        assert sent - before + sum(len(one.sent) for one in lanes) == most
    clock.close()


def test_used_up_number_closes_until_midnight_utc_and_then_begins_anew(clock: Clock):
    store, wall = Store(), [200 * DAY + 3600.0]
    lane = Lane(clock, quota=quota(store, 5, wall))
    assert lane.quota is not None
    clock.call_soon(lane.schedule)
    clock.commit()
    assert len(lane.sent) == 5
    assert lane.quota.why() == "cap of x: 5 of 5 today"
    clock.call_soon(lambda: closed.append(lane.quota.closed_for()))  # type: ignore[union-attr]
    closed: list[float] = []
    clock.commit()
    assert closed == [DAY - 3600.0]
    wall[0] = 201 * DAY + 0.1
    clock.call_soon(lane.schedule)
    clock.commit()
    assert len(lane.sent) == 10


def test_with_the_store_away_only_what_is_leased_is_used_and_the_reason_says_so(clock: Clock):
    store, wall = Store(), [200 * DAY]
    lane = Lane(clock, quota=quota(store, 1000, wall))
    assert lane.quota is not None
    lane.left = 1
    clock.call_soon(lane.schedule)
    clock.commit()
    store.away = True
    lane.left = 500
    clock.call_soon(lane.schedule)
    clock.commit()
    assert 1 <= len(lane.sent) <= 10  # a part is a hundredth
    assert "the database is away" in lane.quota.why()
    assert 0.0 < lane.quota.closed_for() <= 10.0
    store.away = False
    wall[0] += 11.0
    clock.call_soon(lane.schedule)
    clock.commit()
    assert len(lane.sent) == 501


def test_a_mailing_costs_a_trip_to_the_store_for_each_part_and_not_for_each_message(clock: Clock):
    store, wall = Store(), [200 * DAY]
    lane = Lane(clock, quota=quota(store, 100_000, wall))
    lane.left = 5000
    clock.call_soon(lane.schedule)
    clock.commit()
    assert len(lane.sent) == 5000
    assert store.trips <= 12


def test_unused_lease_is_given_back_to_the_others(clock: Clock):
    store, wall = Store(), [200 * DAY]
    lane = Lane(clock, quota=quota(store, 1000, wall))
    assert lane.quota is not None
    lane.left = 3
    clock.call_soon(lane.schedule)
    clock.commit()
    assert store.leased["t", 200] > 3
    wall[0] += 61.0
    clock.run_until_complete(lane.quota.tidy())
    assert store.leased["t", 200] == 3


# -- shares


def test_rate_of_a_source_holds_over_two_processes_in_every_second_and_is_used(clock: Clock):
    store = Store()
    rate = 6.0
    lanes: list[Lane] = []
    processes = []
    for homes in (["00", "01", "02"], ["03", "04"]):
        cluster = ClusterLimits(store, lambda homes=homes: homes, wall=clock.time)
        cluster.add(ClusterLimit.of_rate("rate/a", rate))
        processes.append(cluster)

    async def run() -> None:
        for cluster, homes in zip(processes, (["00", "01", "02"], ["03", "04"]), strict=True):
            for home in homes:
                waiters = cluster.waiters("a", home)
                lanes.append(Lane(clock, cluster.limits["rate/a"].rate_limit(home, waiters)))
                waiters.add(lanes[-1])
        keeping = [asyncio.create_task(cluster.run()) for cluster in processes]
        for lane in lanes:
            lane.schedule()
        await asyncio.sleep(60.0)
        for lane in lanes[1:]:
            lane.left = 0  # from now on one shard alone has mail
        await asyncio.sleep(60.0)
        store.away = True
        await asyncio.sleep(30.0)
        for task in keeping:
            task.cancel()

    running = clock.create_task(run())
    start = clock.time()
    clock.run_for(151.0)
    assert running.done()
    sent = [moment for lane in lanes for moment in lane.sent]
    assert most_within(sent) <= rate
    assert all(lane.sent for lane in lanes)
    early = [moment for moment in sent if start + 10 < moment < start + 60]
    assert len(early) >= 0.7 * rate * 50
    alone = [moment for moment in lanes[0].sent if start + 70 < moment < start + 120]
    assert len(alone) >= 0.9 * rate * 50
    away = [moment for moment in lanes[0].sent if moment > start + 121]
    assert len(away) >= 0.9 * rate * 28  # nobody needs the store for what he has


def test_what_a_dead_process_held_is_its_successor_s(clock: Clock):
    store = Store()

    async def run() -> tuple[int, int]:
        first = ClusterLimits(store, lambda: ["00"], wall=clock.time)
        first.add(ClusterLimit("connections/a", 4))
        waiters = first.waiters("a", "00")
        connection_limit = first.limits["connections/a"].connections("00", waiters)
        waiter = Lane(clock)
        waiter.left = 1
        waiters.add(waiter)
        assert not connection_limit.acquire(waiter)
        await first.exchange()
        had = connection_limit.most
        second = ClusterLimits(store, lambda: ["00"], wall=clock.time)
        second.add(ClusterLimit("connections/a", 4))
        await second.exchange()  # nothing is wanted there: it is free again
        return had, sum(store.cluster["connections/a"].held.values())

    task = clock.create_task(run())
    clock.commit()
    assert task.result() == (4, 0)


def test_part_is_used_only_when_its_last_owner_can_no_longer_give_it_away(clock: Clock):
    store = Store()
    store.cluster["connections/a"] = Division(7, {"00": 3}, {})

    async def run() -> tuple[int, int, bool]:
        new = ClusterLimits(store, lambda: ["00"], wall=clock.time)
        new.add(ClusterLimit("connections/a", 4))
        waiters = new.waiters("a", "00")
        connection_limit = new.limits["connections/a"].connections("00", waiters)
        waiter = Lane(clock)
        waiter.left = 10**9
        waiter.schedule = lambda: None  # type: ignore[method-assign]
        waiters.add(waiter)
        late = store.cluster["connections/a"]  # what the last owner has read
        store.lose = True
        await new.exchange()
        before = connection_limit.most
        store.lose = False
        await new.exchange()
        return before, connection_limit.most, await store.divide("connections/a", late)

    task = clock.create_task(run())
    clock.commit()
    assert task.result() == (0, 4, False)
