"""Cookies of the dashboard, and what charts and texts make of values."""

from postroad_common.schemas.events import EventName, happened
from postroad_common.tokens import Keyring
from postroad_ingress_http.dashboard import texts
from postroad_ingress_http.dashboard.charts import Period, Series, bars
from postroad_ingress_http.dashboard.sessions import SESSION_SECONDS, Sessions, same

OLD, NEW = "an old secret of ours", "a new secret of ours"


def test_session_lasts_until_its_end():
    sessions = Sessions(Keyring([OLD]))
    cookie = sessions.write("a@a.example", "main", 3, 1000.0)
    session = sessions.read(cookie, 1000.0 + SESSION_SECONDS - 1)
    assert session is not None
    assert (session.email, session.account, session.version) == ("a@a.example", "main", 3)
    assert sessions.read(cookie, 1000.0 + SESSION_SECONDS) is None


def test_session_survives_a_new_first_key_and_ends_with_its_own():
    cookie = Sessions(Keyring([OLD])).write("a@a.example", "main", 1, 1000.0)
    assert Sessions(Keyring([NEW, OLD])).read(cookie, 1000.0) is not None
    assert Sessions(Keyring([NEW])).read(cookie, 1000.0) is None


def test_cookie_of_another_kind_is_no_session():
    sessions = Sessions(Keyring([OLD]))
    visit, csrf = sessions.write_visit(1000.0)
    assert sessions.read(visit, 1000.0) is None
    assert sessions.read_visit(sessions.write("a@a.example", "main", 1, 1000.0), 1000.0) is None
    assert sessions.read_visit(visit, 1000.0) == csrf


def test_each_session_has_a_token_of_its_own():
    sessions = Sessions(Keyring([OLD]))
    first, second = (
        sessions.read(sessions.write("a@a.example", "main", 1, 1000.0), 1000.0) for _ in range(2)
    )
    assert first is not None
    assert second is not None
    assert first.csrf != second.csrf
    assert not same(first.csrf, second.csrf)
    assert not same(None, None)


def test_every_changed_octet_of_a_cookie_is_noticed():
    sessions = Sessions(Keyring([OLD]))
    cookie = sessions.write("a@a.example", "main", 1, 1000.0)
    for position in range(0, len(cookie) - 2, 7):
        other = "A" if cookie[position] != "A" else "B"
        forged = cookie[:position] + other + cookie[position + 1 :]
        assert sessions.read(forged, 1000.0) is None


def test_chart_counts_hours_into_buckets_and_escapes_names():
    period = Period.until(10 * 86_400.0 + 5, 86_400, 3600)
    assert period.count == 24
    hour = 10 * 86_400
    sums = period.sums({(hour, "x"): 3, (hour - 3600, "x"): 2, (0, "x"): 9, (hour, "y"): 1}, "x")
    assert sums[-2:] == [2, 3]
    assert sum(sums) == 5
    drawing = bars("<T>", period, [Series("<x>", sums)])
    assert "<x>" not in drawing
    assert "&lt;x&gt;: 5" in drawing
    assert drawing.count('class="s1"') == 2 * 2 + 1


def test_step_of_an_expired_message_says_so_with_the_reason():
    policy = {"kind": "dane"}
    data = {"expired": True, "reply": "450 later", "tls_policy": policy, "enhanced": ""}
    event = happened(EventName.FAILED, "m", 1.0, data)
    step = texts.step(event)
    assert (step.label, step.kind, step.summary) == ("Given up: time is over", "bad", "450 later")
    assert ("tls_policy kind", "dane") in step.details
    assert "enhanced" not in dict(step.details)
