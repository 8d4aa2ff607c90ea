"""What MTA-STS and routes make of connections, and who shares one."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY

from postroad_sender.delivery.job import Job
from postroad_sender.delivery.outcome import Outcome, Status
from postroad_sender.lanes.lane import Lane
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.throttle.controller import Caps, Controller
from postroad_smtp.client.session import TlsWish

Start = Callable[..., Any]


def policy_of(ending: tuple[str, Outcome, dict[str, Any]]) -> dict[str, Any]:
    return dict(ending[2]["tls_policy"])


def counted(kind: str, result: str) -> float:
    labels = {"kind": kind, "result": result}
    return REGISTRY.get_sample_value("postroad_sender_tls_policies_total", labels) or 0.0


# -- MTA-STS


async def test_enforced_policy_is_met_by_a_valid_certificate(
    relay: Start, sink: Any, authority: Any
):
    sink.tls = authority.issue("mx.d.test").context()
    sending = relay()
    sending.domain("d.test", "mx.d.test", policy="enforce *.d.test")
    before = counted("mta-sts", "ok")
    disposition = await sending.send("a@d.test", "b@d.test", "c@d.test")
    assert [ending[1].status for ending in disposition] == [Status.DELIVERED] * 3
    assert policy_of(disposition[0]) == {"kind": "mta-sts", "mode": "enforce", "result": "ok"}
    assert "unverified" not in disposition[0][2]["tls"]
    assert all(command.startswith("TLS ") for command in sink.commands)
    assert 1 <= counted("mta-sts", "ok") - before <= 3


@pytest.mark.parametrize(
    ("names", "days", "detail"),
    [
        (["mx.other.test"], 1, "Hostname mismatch"),
        (["mx.d.test"], -1, "has expired"),
        (None, 1, "not offered"),
    ],
)
async def test_enforced_policy_that_is_not_met_defers_and_sends_nothing(
    relay: Start, sink: Any, authority: Any, names: list[str] | None, days: int, detail: str
):
    sink.tls = None if names is None else authority.issue(*names, days=days).context()
    sending = relay()
    sending.domain("d.test", "mx.d.test", policy="enforce mx.d.test")
    before = counted("mta-sts", "failed")
    ((_, outcome, facts),) = await sending.send("a@d.test")
    assert outcome.status is Status.DEFERRED
    assert (outcome.reply.code, outcome.reply.enhanced) == (451, "4.7.5")
    assert outcome.reply.text.startswith("MTA-STS: ")
    assert detail in outcome.reply.text
    assert facts["tls_policy"]["result"] == "failed"
    assert detail in facts["tls_policy"]["detail"]
    assert "EHLO me.test" in outcome.said
    assert sink.commands == []
    assert counted("mta-sts", "failed") == before + 1
    assert sending.lanes[0].controller.closed_for(asyncio.get_running_loop().time()) == 0.0


async def test_certificate_of_an_unknown_authority_does_not_meet_a_policy(
    relay: Start, sink: Any, server_tls: ssl.SSLContext
):
    sink.tls = server_tls
    sending = relay()
    sending.domain("d.test", "mx.d.test", policy="enforce mx.d.test")
    ((_, outcome, _),) = await sending.send("a@d.test")
    assert "self-signed certificate" in outcome.reply.text
    assert sink.commands == []


async def test_host_that_is_not_in_an_enforced_policy_is_passed_over(
    relay: Start, sink: Any, authority: Any
):
    sink.tls = authority.issue("one.d.test", "two.d.test").context()
    sending = relay()
    sending.domain("d.test", "one.d.test", "two.d.test", policy="enforce two.d.test")
    ((_, outcome, facts),) = await sending.send("a@d.test")
    assert (outcome.status, facts["host"]) == (Status.DELIVERED, "two.d.test")
    sending.domain("e.test", "one.d.test", policy="enforce mx.e.test")
    ((_, outcome, facts),) = await sending.send("a@e.test")
    assert outcome.status is Status.DEFERRED
    assert outcome.reply.text == "MTA-STS: one.d.test is not in the MTA-STS policy"
    assert facts["tls_policy"]["kind"] == "mta-sts"
    assert len(sink.commands) == 1


@pytest.mark.parametrize(
    ("names", "policy", "expected"),
    [
        (["mx.d.test"], "mx.d.test", ("ok", "")),
        (["mx.d.test"], "mx.e.test", ("would-fail", "mx.d.test is not in the policy")),
        (["mx.e.test"], "mx.d.test", ("would-fail", "TLS handshake failed: Hostname mismatch")),
        (None, "mx.d.test", ("would-fail", "TLS is not offered")),
    ],
)
async def test_policy_in_testing_delivers_and_tells_what_would_have_been(
    relay: Start,
    sink: Any,
    authority: Any,
    names: list[str] | None,
    policy: str,
    expected: tuple[str, str],
):
    sink.tls = None if names is None else authority.issue(*names).context()
    sending = relay()
    sending.domain("d.test", "mx.d.test", policy=f"testing {policy}")
    ((_, outcome, facts),) = await sending.send("a@d.test")
    assert outcome.status is Status.DELIVERED
    assert sink.commands[0].startswith("TLS ") is (names is not None)
    found = facts["tls_policy"]
    assert (found["kind"], found["mode"], found["result"]) == ("mta-sts", "testing", expected[0])
    assert found.get("detail", "").startswith(expected[1])


@pytest.mark.parametrize("off", [{"policy": False}, {"tls": TlsWish.NONE}])
async def test_route_can_switch_policies_off(relay: Start, off: dict[str, Any]):
    sending = relay(**off)
    sending.domain("d.test", "mx.d.test", policy="enforce mx.other.test")
    ((_, outcome, _),) = await sending.send("a@d.test")
    assert outcome.status is Status.DELIVERED


async def test_mail_without_a_policy_goes_as_ever_and_says_so(
    relay: Start, sink: Any, server_tls: ssl.SSLContext
):
    sink.tls = server_tls
    sending = relay()
    sending.domain("d.test", "mx.d.test")
    ((_, outcome, facts),) = await sending.send("a@d.test")
    assert outcome.status is Status.DELIVERED
    assert facts["tls"].endswith("unverified")
    assert facts["tls_policy"] == {"kind": "none"}


async def test_policy_of_an_international_domain_holds_however_it_is_written(
    relay: Start, sink: Any
):
    sending = relay()
    sending.domain("xn--bcher-kva.test", "mx.d.test", policy="enforce mx.d.test")
    for domain in ("b\u00fccher.test", "xn--bcher-kva.test"):
        ((_, outcome, _),) = await sending.send(f"a@{domain}")
        assert outcome.reply.text.startswith("MTA-STS: ")
    assert sink.commands == []


# -- one site, many domains


async def test_connection_that_proved_nothing_carries_no_mail_of_a_domain_that_demands_it(
    relay: Start, sink: Any, server_tls: ssl.SSLContext
):
    sink.tls = server_tls  # a certificate that nobody vouches for
    sending = relay(connections=1)
    sending.domain("lax.test", "mx.site.test")
    sending.domain("strict.test", "mx.site.test", policy="enforce mx.site.test")
    await sending.send("a@lax.test")
    assert sink.open == 1  # and it stays, idle
    for _ in range(2):
        strict, lax = await sending.send("b@strict.test", "c@lax.test")
        assert strict[1].status is Status.DEFERRED
        assert lax[1].status is Status.DELIVERED
        assert policy_of(lax) == {"kind": "none"}
    assert len(sending.lanes) == 1
    assert len(sink.recipients) == 3
    assert "b@strict.test" not in sink.recipients
    assert sink.most_open <= 2  # one may be closing while the next opens


async def test_connection_that_proved_itself_carries_all_mail_of_the_site(
    relay: Start, sink: Any, authority: Any
):
    sink.tls = authority.issue("mx.site.test").context()
    sending = relay(connections=1)
    sending.domain("lax.test", "mx.site.test")
    sending.domain("strict.test", "mx.site.test", policy="enforce mx.site.test")
    sending.domain("trying.test", "mx.site.test", policy="testing mx.other.test")
    await sending.send("a@lax.test")
    addresses = ["a@strict.test", "b@lax.test", "c@strict.test", "d@trying.test", "e@lax.test"]
    disposition = await sending.send(*addresses)
    assert [ending[1].status for ending in disposition] == [Status.DELIVERED] * 5
    assert [policy_of(ending).get("result") for ending in disposition] == [
        "ok",
        None,
        "ok",
        "would-fail",
        None,
    ]
    assert sink.connections == 2  # the first one, which had proved nothing, made room


async def test_policy_of_one_domain_closes_the_site_to_no_other(
    relay: Start, sink: Any, authority: Any
):
    sink.tls = authority.issue("mx.site.test").context()
    sending = relay(connections=2)
    sending.domain("evil.test", "mx.site.test", policy="enforce mx.nowhere.test")
    sending.domain("good.test", "mx.site.test")
    addresses = [f"{n}@{'evil' if n % 2 else 'good'}.test" for n in range(20)]
    disposition = await sending.send(*addresses)
    for address, outcome, _ in disposition:
        expected = Status.DEFERRED if "evil" in address else Status.DELIVERED
        assert outcome.status is expected
    assert sending.lanes[0].controller.effects(asyncio.get_running_loop().time()) == []


async def test_unproven_connection_leaves_what_it_may_not_carry_to_the_one_that_comes(
    relay: Start, server_tls: ssl.SSLContext, sink: Any
):
    sink.tls = server_tls
    sending = relay()
    sending.domain("lax.test", "mx.site.test")
    sending.domain("strict.test", "mx.site.test", policy="enforce mx.site.test")
    lax = await sending.destinations.find("lax.test")
    strict = await sending.destinations.find("strict.test")
    assert lax.key == strict.key
    lane: Lane[Job] = Lane(lax.key, Controller(Caps(), 0.0), 0.0)
    pool = sending.make_pool(lane, lax, home=None, requeue=None)
    pool.thorough = True
    session = await sending.dialer.open(lax)
    jobs = [sending.job("a@strict.test"), sending.job("b@lax.test"), sending.job("c@lax.test")]
    for job, destination in zip(jobs, (strict, lax, lax), strict=True):
        job.requirement = destination.requirement
        lane.put(job)
    lane.opening = 1
    assert pool.take(session) is jobs[1]
    lane.opening = 0
    assert pool.take(session) is None  # makes room: it is the turn of the other
    lane.opening = 1
    assert pool.take(session) is jobs[2]
    assert pool.take(session) is None
    assert lane.take_all() == [jobs[0]]
    session.quit()


# -- what routes say holds on a shared site, too


async def test_route_that_verifies_gets_no_unverified_connection_of_its_neighbours(
    relay: Start, sink: Any, server_tls: ssl.SSLContext
):
    sink.tls = server_tls
    sending = relay()
    routes = Routes(
        (
            Route(domain="bank.test", port=sink.port, verify=True),
            Route(domain="*", port=sink.port),
        )
    )
    sending.destinations._routes = routes
    sending.domain("lax.test", "mx.site.test")
    sending.domain("bank.test", "mx.site.test")
    await sending.send("a@lax.test")
    bank, lax = await sending.send("b@bank.test", "c@lax.test")
    assert (bank[1].status, lax[1].status) == (Status.DEFERRED, Status.DELIVERED)
    assert policy_of(bank)["kind"] == "route"
