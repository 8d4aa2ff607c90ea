"""Cookies of the dashboard, and what charts and texts make of values."""

from dataclasses import replace
from typing import Any

import pytest

from postroad_common.schemas.events import EventName, happened
from postroad_common.store.sessions import SessionRecord
from postroad_common.store.users import User
from postroad_common.tokens import Keyring
from postroad_ingress_http.dashboard import eventwords, timeline
from postroad_ingress_http.dashboard.sessions import SESSION_SECONDS, Sessions, same

OLD, NEW = "an old secret of ours", "a new secret of ours"
USER = User("a@a.example", "main", "hash", version=3)


class Records:
    """The collection of sessions, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, SessionRecord] = {}

    async def create(self, session: SessionRecord) -> None:
        self.kept[session.id] = session

    async def find(self, session_id: str) -> SessionRecord | None:
        return self.kept.get(session_id)

    async def touch(self, session_id: str, now: float, address: str) -> None:
        self.kept[session_id] = replace(self.kept[session_id], seen=now, address=address)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(*keys: str, records: Records | None = None, clock: Clock | None = None) -> Sessions:
    kept: Any = records or Records()
    return Sessions(Keyring(keys or [OLD]), kept, clock or Clock())


async def test_session_lasts_until_its_end():
    clock = Clock()
    sessions = make(clock=clock)
    cookie = await sessions.begin(USER, "192.0.2.1", "a browser")
    clock.now += SESSION_SECONDS - 1
    session = await sessions.find(cookie, "192.0.2.2")
    assert session is not None
    assert (session.email, session.account, session.version) == ("a@a.example", "main", 3)
    clock.now += 1
    assert await sessions.find(cookie, "192.0.2.2") is None


async def test_session_that_the_server_has_ended_is_over_for_every_copy_of_its_cookie():
    records = Records()
    sessions = make(records=records)
    cookie = await sessions.begin(USER, "", "")
    assert await sessions.find(cookie, "") is not None
    records.kept.clear()
    assert await sessions.find(cookie, "") is None


async def test_session_survives_a_new_first_key_and_ends_with_its_own():
    records = Records()
    cookie = await make(OLD, records=records).begin(USER, "", "")
    assert await make(NEW, OLD, records=records).find(cookie, "") is not None
    assert await make(NEW, records=records).find(cookie, "") is None


async def test_what_the_server_keeps_of_a_session_is_of_no_use_as_a_cookie():
    records = Records()
    sessions = make(records=records)
    cookie = await sessions.begin(USER, "", "")
    (kept,) = records.kept
    assert kept not in cookie
    assert await sessions.find(kept, "") is None


async def test_cookie_of_another_kind_is_no_session():
    sessions = make()
    visit, csrf = sessions.write_visit(1000.0)
    step = sessions.write_step(USER, 1000.0)
    session = await sessions.begin(USER, "", "")
    assert await sessions.find(visit, "") is None
    assert await sessions.find(step, "") is None
    assert sessions.read_visit(session, 1000.0) is None
    assert sessions.read_visit(visit, 1000.0) == csrf
    assert sessions.read_step(session, 1000.0) is None
    assert sessions.read_step(step, 1000.0) == ("a@a.example", 3)


async def test_each_session_has_a_token_of_its_own():
    sessions = make()
    first, second = [await sessions.find(await sessions.begin(USER, "", ""), "") for _ in range(2)]
    assert first is not None
    assert second is not None
    tokens = [sessions.csrf_of(session.id) for session in (first, second)]
    assert not same(*tokens)
    assert not same(None, None)


async def test_every_changed_octet_of_a_cookie_is_noticed():
    sessions = make()
    cookie = await sessions.begin(USER, "", "")
    for position in range(0, len(cookie) - 2, 7):
        other = "A" if cookie[position] != "A" else "B"
        forged = cookie[:position] + other + cookie[position + 1 :]
        assert await sessions.find(forged, "") is None


def test_step_of_an_expired_message_says_so_with_the_reason():
    policy = {"kind": "dane", "mode": "enforce"}
    data = {"expired": True, "reply": "450 later", "tls_policy": policy, "enhanced": ""}
    event = happened(EventName.FAILED, "m", 1.0, data)
    step = timeline.step(event)
    assert (step.label, step.kind, step.summary) == ("Given up: time is over", "bad", "450 later")
    assert step.details == (
        ("Time", "is over: there is no further attempt"),
        ("TLS policy", "DANE: enforce"),
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"next": 1_795_975_317.4}, ("Next attempt", 1_795_975_317.4)),
        ({"attempt": 0}, ("Attempt", "the 1st")),
        ({"attempt": 11}, ("Attempt", "the 12th")),
        ({"requeue": "lane_closed"}, ("Waits because", "the receiver takes nothing at present")),
        ({"stage": "dot"}, ("Answer to", "the whole mail")),
        ({"size": 2738}, ("Size", "2.7 KiB")),
        ({"confidence": 0.95}, ("Confidence", "95 %")),
        ({"client": {"helo": "pc.example"}}, ("Client: calls itself", "pc.example")),
        ({"changes": {"added": ["Date"]}}, ("Header fields added", "Date")),
        ({"machine": True}, ("Made by", "a machine, not a person")),
        ({"a_new_fact": ["x", "y"]}, ("A new fact", "x, y")),
        ({"conversation": "C: QUIT", "local": False, "ip": None, "helo": ""}, None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_details_of_an_event_are_told_in_words(told: dict[str, Any], expected: object):
    assert eventwords.describe(told) == ([] if expected is None else [expected])
