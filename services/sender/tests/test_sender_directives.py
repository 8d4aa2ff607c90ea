"""What operators direct a lane to do is done: bounce, redirect, drain; and read as it was meant."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad_common.broker import topology
from postroad_common.mail.reply import Reply
from postroad_common.schemas.events import EventName
from postroad_common.schemas.lanes import (
    NO_DIRECTIVES,
    EffectKind,
    Phase,
    RedirectDirective,
    StoredDirectives,
)
from postroad_sender.connect.destination import Destination
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.delivery.job import Job
from postroad_sender.dns.resolver import MxHost
from postroad_sender.lanes.directives import apply_directives
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.lane_state import state_of
from postroad_sender.routes.routes import Route
from postroad_sender.throttle.controller import Caps, Controller
from postroad_sender.throttle.signals import Signal
from postroad_sender.timings import Timings
from postroad_smtp.client.session import TlsWish
from postroad_testing.waiting import until

WALL = 1_790_000_000.0  # Unix time of the loop time 1000
NOW = 1000.0
BOUNCE = {"reply": "550 5.1.10 this domain takes no mail"}


def lane_with(document: dict[str, Any]) -> Lane[Job]:
    lane: Lane[Job] = Lane(LaneKey("", "mx.test"), Controller(Caps(), NOW), NOW)
    apply_directives(lane, StoredDirectives.read(document), NOW, WALL)
    return lane


# -- values


def test_directives_are_read_as_they_are_written():
    document = {
        "reason": "maintenance",
        "given": {"at": WALL, "by": "token"},
        "paused": True,
        "connections": 3,
        "rate": 0.5,
        "cancel": {"rate": WALL - 1},
        "bounce": {**BOUNCE, "before": WALL},
        "redirect": {"host": "spare.test", "port": 2525, "tls": "required"},
        "drain": True,
        "simulate": ["rate", "pause", "speed"],
    }
    directives = StoredDirectives.read(document)
    assert directives.document() == {**document, "simulate": ["rate", "pause"]}
    assert directives.paused_until == inf
    assert directives.bounce is not None
    assert directives.bounce.reply == Reply(550, "5.1.10", "this domain takes no mail")
    assert directives.cancel == {EffectKind.RATE: WALL - 1}


@pytest.mark.parametrize(
    "document",
    [
        {"bounce": {"reply": "450 4.2.0 later", "before": 1.0}},
        {"bounce": {"reply": "nonsense", "before": 1.0}},
        {"bounce": BOUNCE},
        {"bounce": True},
        {"redirect": {"port": 25}},
        {"redirect": {"host": "x.test", "port": 70_000}},
        {"redirect": {"host": "x.test", "tls": "perhaps"}},
        {"paused": -5, "connections": 0, "rate": "fast", "cancel": {"rate": None, "x": 1.0}},
        {"drain": "yes", "simulate": "rate", "given": 7},
    ],
)
def test_directive_that_makes_no_sense_is_left_out(document: dict[str, Any]):
    assert StoredDirectives.read({**document, "reason": "x"}) == StoredDirectives(reason="x")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        *("paused", "drain", "connections", "rate", "cancel", "bounce", "redirect", "simulate"),
        *("reason", "given"),
    ]
)


@settings(max_examples=40)
@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_no_directive_whatever_is_in_it_stops_the_lane_from_being_described(
    document: dict[str, Any],
):
    state = state_of(lane_with(document), NOW, WALL)
    assert state.phase in {"idle", "limited", "paused", "draining", "drained"}
    json.dumps(state.document(), allow_nan=False)


def test_directive_given_twice_holds_since_the_first_time():
    document = {"paused": WALL + 60, "rate": 2, "given": {"at": WALL - 10}}
    lane = lane_with(document)
    first = state_of(lane, NOW, WALL)
    apply_directives(lane, StoredDirectives.read(document), NOW + 5, WALL + 5)
    again = state_of(lane, NOW + 5, WALL + 5)
    assert first.effects == again.effects
    pause = next(effect for effect in first.effects if effect.kind is EffectKind.PAUSE)
    assert (pause.since, pause.until) == (WALL - 10, WALL + 60)


def test_pause_whose_time_is_over_is_not_shown_any_more():
    lane = lane_with({"paused": WALL + 60})
    assert state_of(lane, NOW, WALL).phase is Phase.PAUSED
    assert state_of(lane, NOW + 61, WALL + 61).phase is Phase.IDLE


def test_lane_is_drained_only_when_nothing_is_connected():
    lane = lane_with({"drain": True})
    assert lane.controller.connections(NOW) == 0
    lane.working = 1
    assert state_of(lane, NOW, WALL).phase is Phase.DRAINING
    lane.working = 0
    assert state_of(lane, NOW, WALL).phase is Phase.DRAINED
    apply_directives(lane, NO_DIRECTIVES, NOW, WALL)
    assert state_of(lane, NOW, WALL).phase is Phase.IDLE


def test_simulated_effects_are_shown_as_such_and_hold_nothing_back():
    lane = lane_with({"simulate": ["pause", "rate", "connections"]})
    for _ in range(3):
        reason = "421 4.7.0 blocked"
        lane.controller.on_connect_failed(0, Signal.REPUTATION, reason, NOW)
    state = state_of(lane, NOW + 5, WALL + 5)
    assert state.phase is Phase.IDLE
    assert {effect.simulated for effect in state.effects} == {True}
    assert EffectKind.PAUSE in {effect.kind for effect in state.effects}
    assert lane.controller.wait(NOW + 5) == 0.0
    apply_directives(lane, NO_DIRECTIVES, NOW + 5, WALL + 5)
    assert state_of(lane, NOW + 5, WALL + 5).phase is Phase.CLOSED


def test_redirect_takes_no_login_along():
    route = Route(domain="*", host="own.test", username="me", password="secret", verify=True)
    own = Destination(LaneKey("", "own.test:25"), route, (MxHost(0, "own.test"),), 25)
    assert own.redirected(None) is own
    there = own.redirected(RedirectDirective(host="127.0.0.1", port=2525, tls="none"))
    assert (there.hosts, there.port) == ((MxHost(0, "127.0.0.1"),), 2525)
    assert (there.route.username, there.route.password) == (None, None)
    assert there.route.tls is TlsWish.NONE
    assert there.is_named_by_route
    assert there.key == own.key


# -- a sender that applies them


class Directed:
    """A sender whose lane to the sink is given directives."""

    def __init__(self, senders: Any, sink: Any) -> None:
        self.senders = senders
        self.lane = f"|127.0.0.1:{sink.port}"
        self._route = {"domain": "*", "host": "127.0.0.1", "port": sink.port, "tls": "none"}
        senders.timings = Timings(directives_every=0.05, save_every=0.05)
        senders.settings["retry_schedule"] = "0.2"

    async def start(self) -> None:
        await self.senders.start([self._route])

    async def direct(self, **changes: Any) -> None:
        await self.senders.database.lanes.direct(self.lane, changes)

    async def is_in(self, phase: str) -> bool:
        record = await self.senders.database.lanes.get(self.lane)
        return record is not None and record.state.phase == phase


@pytest.fixture
async def directed(senders: Any, sink: Any) -> Directed:
    directed = Directed(senders, sink)
    await directed.start()
    return directed


async def test_bounced_is_what_waits_and_not_what_is_under_way(
    directed: Directed, senders: Any, sink: Any
):
    sink.gate.clear()
    await directed.direct(connections=1, reason="one at a time")
    await senders.put("first@d.test")
    await until(lambda: directed.is_in("limited"))
    await until(lambda: sink.commands != [])
    await senders.put(*(f"u{number}@d.test" for number in range(5)))
    await directed.direct(bounce={**BOUNCE, "before": time.time()}, reason="it was a mistake")
    failed = await senders.told(EventName.FAILED, 5)
    assert {event.facts["reply"] for event in failed} == {BOUNCE["reply"]}
    assert {failure.outcome for failure, _ in senders.failures} == {"failed"}
    assert failed[0].facts["conversation"] == "# bounced by directive: it was a mistake"
    sink.gate.set()
    await senders.told(EventName.DELIVERED, 1)
    await senders.put("after@d.test")  # younger than the directive
    await senders.told(EventName.DELIVERED, 2)
    assert sink.recipients == ["first@d.test", "after@d.test"]
    assert len(senders.failures) == 5


async def test_bounce_works_off_the_backlog_of_a_closed_lane_and_leaves_what_is_younger(
    directed: Directed, senders: Any, sink: Any
):
    await senders.stop()
    senders.timings = replace(senders.timings, worth_a_queue=1.0)
    await directed.start()
    queue = topology.parked_queue(directed.lane).name
    await senders.put("first@d.test")
    await senders.told(EventName.DELIVERED, 1)
    await directed.direct(paused=True)
    await until(lambda: directed.is_in("paused"))
    await senders.put(*(f"u{number}@d.test" for number in range(40)))

    async def holds(count: int) -> bool:
        return await senders.queues.depth(queue) >= count

    await until(lambda: holds(35))
    before = time.time()
    requeued = await senders.queues.depth(queue)
    await senders.put("younger@d.test")
    await until(lambda: holds(requeued + 1))
    await directed.direct(bounce={**BOUNCE, "before": before})
    await senders.told(EventName.FAILED, requeued)

    async def is_swept() -> bool:
        record = await senders.database.lanes.get(directed.lane)
        return record is not None and record.state.swept == before

    await until(is_swept)

    async def holds_the_younger() -> bool:
        return await senders.queues.depth(queue) == 1

    await until(holds_the_younger)
    assert sink.recipients == ["first@d.test"]
    await directed.direct(paused=None)
    await senders.told(EventName.DELIVERED, 2)
    assert sink.recipients == ["first@d.test", "younger@d.test"]


async def test_redirected_mail_goes_elsewhere_until_it_is_taken_back(
    directed: Directed, senders: Any, sink: Any, more_sinks: Callable[[], Awaitable[Any]]
):
    spare = await more_sinks()
    await senders.put("one@d.test")
    await senders.told(EventName.DELIVERED, 1)
    assert sink.open == 1  # kept for the next message, which must not go there
    await directed.direct(redirect={"host": "127.0.0.1", "port": spare.port, "tls": "none"})
    await until(lambda: sink.open == 0)
    await senders.put("two@d.test")
    await senders.told(EventName.DELIVERED, 2)
    await directed.direct(redirect=None)
    await until(lambda: spare.open == 0)
    await senders.put("three@d.test")
    await senders.told(EventName.DELIVERED, 3)
    assert sink.recipients == ["one@d.test", "three@d.test"]
    assert spare.recipients == ["two@d.test"]


async def test_drained_lane_finishes_what_is_under_way_and_gives_back_the_rest(
    directed: Directed, senders: Any, sink: Any
):
    sink.gate.clear()
    await directed.direct(connections=2)
    await senders.put(*(f"u{number}@d.test" for number in range(10)))
    await until(lambda: sink.open == 2)
    await directed.direct(drain=True, reason="maintenance")
    await until(lambda: directed.is_in("draining"))
    waiting = await senders.told(EventName.DEFERRED, 8)
    assert {event.facts["reason"] for event in waiting} == {"delivery suspended: maintenance"}
    sink.gate.set()
    await until(lambda: directed.is_in("drained"))
    await until(lambda: sink.open == 0)
    assert len(sink.taken) == 2
    await directed.direct(drain=None)
    await until(lambda: directed.is_in("limited"))  # by its cap of two connections
    await senders.put("later@d.test")
    await until(lambda: "later@d.test" in sink.recipients)
