"""What TLS policies make of connections: DNS, a policy host and STARTTLS receivers on loopback."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import REGISTRY

from postroad_common.mail.requeue import RequeueReason
from postroad_sender.connect.destination import Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.delivery.facts import facts_of
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import Outcome, Status
from postroad_sender.dns.resolver import Resolver
from postroad_sender.lanes.dispatch import LaneDispatcher
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Means, Requeue
from postroad_sender.lanes.worker import work
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.throttle.controller import Caps, Controller
from postroad_sender.tls.fetch import FetchError
from postroad_sender.tls.mta_sts import MtaStsPolicy, parse
from postroad_sender.tls.policies import StsPolicies
from postroad_sender.tls.records import PolicyLookups
from postroad_sender.tls.requirement import is_waived
from postroad_smtp.client.session import Timeouts, TlsWish
from postroad_testing.factories import outbound, outbound_recipient

MIME = b"Subject: hello\r\n\r\nhello\r\n"


class _Job(Job):
    """A job that came from no broker, so none can take it back."""

    @property
    def is_ours(self) -> bool:
        return True


class Ended:
    """Disposition that remember: address, outcome, and the facts of its event."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Outcome, dict[str, Any]]] = []
        self.more = asyncio.Event()

    def finish(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        address = job.message.recipients[0].address
        self.jobs.append((address, outcomes[0], facts_of(outcomes[0]).to_data()))
        self.more.set()

    def requeue(
        self, job: Job, seconds: float, reason: RequeueReason, text: str, queue: str | None = None
    ) -> None:
        raise AssertionError((job, seconds, reason, text, queue))

    def leave(self, job: Job) -> None:
        raise AssertionError(job)

    def reroute(self, job: Job, shard: str) -> None:
        raise AssertionError((job, shard))


class Relay:
    """The sender from its dispatcher on, for one receiving port."""

    def __init__(self, name_server: Any, authority: Any, port: int, **changes: Any) -> None:
        dnssec = changes.pop("dnssec", False)
        self.ended = Ended()
        self.lanes: list[Lane[Job]] = []
        self.policies: dict[str, str] = {}
        self._dns = name_server
        resolver = Resolver(
            name_server.address, "me.test", dnssec=dnssec, permits=lambda _: True, lifetime=60.0
        )
        records = PolicyLookups(resolver)
        lax = ssl.create_default_context()
        lax.check_hostname = False
        lax.verify_mode = ssl.CERT_NONE
        contexts = Contexts(lax=lax, strict=authority.trusting())
        timeouts = Timeouts(60.0, 60.0, 60.0, 60.0, 60.0)
        self.dialer = Dialer(resolver, "me.test", contexts, records=records, timeouts=timeouts)
        route = Route(**({"domain": "*", "port": port} | changes))
        self.destinations = Destinations(
            Routes((route,)), resolver, StsPolicies(records, self._policy, None)
        )
        self._dispatcher: LaneDispatcher = LaneDispatcher(
            self.destinations,
            self.ended,  # type: ignore[arg-type]
            self.make_pool,
            caps=Caps(connections=changes.get("connections", 5)),
        )

    def domain(self, name: str, *hosts: str, policy: str = "") -> None:
        """Mail for `name` goes to `hosts`, all of them on loopback."""
        self._dns.zone[(name, "MX")] = [f"{10 + n} {host}." for n, host in enumerate(hosts)]
        for host in hosts:
            self._dns.zone[(host, "A")] = ["127.0.0.1"]
        if policy:
            self._dns.zone[(f"_mta-sts.{name}", "TXT")] = ['"v=STSv1; id=1"']
            self.policies[name] = policy

    async def _policy(self, domain: str) -> MtaStsPolicy:
        if domain not in self.policies:
            raise FetchError("none")
        mode, *patterns = self.policies[domain].split()
        lines = ["version: STSv1", f"mode: {mode}", "max_age: 900", *(f"mx: {p}" for p in patterns)]
        return parse("\n".join(lines).encode())

    def make_pool(
        self,
        lane: Lane[Job],
        destination: Any,
        *,
        home: Shard | None,
        requeue: Requeue | None,
    ) -> ConnectionPool:
        self.lanes.append(lane)
        return ConnectionPool(
            lane,
            destination,
            Means(
                dialer=self.dialer,
                connection_limit=ConnectionLimit(100),
                disposition=self.ended,
                pieces=self._pieces,
                idle_seconds=5.0,
                most_messages=1000,
                work=work,
            ),
            home=home,
            requeue=requeue,
        )

    async def _pieces(self, job: Job) -> tuple[bytes | memoryview, ...]:
        return (job.body,)

    def job(self, address: str, octets: bytes = MIME, *, requiretls: bool = False) -> Job:
        """Return a message; its account is the local part of `address`."""
        account, _, domain = address.partition("@")
        message = outbound(
            account=account,
            recipients=(outbound_recipient(address, id=address),),
            size=len(octets),
            requiretls=requiretls,
        )
        return _Job(message, memoryview(octets), domain, Shard("x", 100))

    async def send(
        self, *addresses: str, octets: bytes = MIME, requiretls: bool = False
    ) -> list[tuple[str, Outcome, dict[str, Any]]]:
        """Hand messages in together; returns how they ended, in that order."""
        before = len(self.ended.jobs)
        for address in addresses:
            self._dispatcher.place(self.job(address, octets, requiretls=requiretls))
        async with asyncio.timeout(90):
            while len(self.ended.jobs) - before < len(addresses):
                self.ended.more.clear()
                await self.ended.more.wait()
        found = {address: ending for ending in self.ended.jobs[before:] for address in ending[:1]}
        return [found[address] for address in addresses]

    async def close(self) -> None:
        await self._dispatcher.stop()


Start = Callable[..., Relay]


@pytest.fixture
async def relay(name_server: Any, authority: Any, sink: Any) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        def start(port: int = 0, **changes: Any) -> Relay:
            relay = Relay(name_server, authority, port or sink.port, **changes)
            stack.push_async_callback(relay.close)
            return relay

        yield start


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


# -- the message's own wishes


async def test_message_that_asks_not_to_mind_is_sent_in_spite_of_a_policy(relay: Start):
    sending = relay()
    sending.domain("d.test", "mx.d.test", policy="enforce mx.d.test")
    octets = b"Subject: x\r\nTLS-Required: No\r\n\r\nhello\r\n"
    ((_, outcome, facts),) = await sending.send("a@d.test", octets=octets)
    assert outcome.status is Status.DELIVERED
    assert facts["tls_policy"]["result"] == "waived"
    ((_, outcome, _),) = await sending.send("b@d.test")
    assert outcome.status is Status.DEFERRED


@pytest.mark.parametrize(
    ("head", "waived"),
    [
        (b"TLS-Required: No", True),
        (b"Subject: x\r\ntls-required:no \r\nTo: y", True),
        (b"TLS-Required: Yes", False),
        (b"X-TLS-Required: No", False),
        (b"Subject: x\r\n TLS-Required: No", False),
        (b"Subject: x\r\n\r\nTLS-Required: No", False),
    ],
)
def test_waiver_is_a_field_of_the_header(head: bytes, waived: bool):  # noqa: FBT001
    assert is_waived(memoryview(head + b"\r\n\r\nhello\r\n")) is waived


async def test_requiretls_goes_to_a_verified_server_that_offers_it(
    relay: Start, sink: Any, authority: Any
):
    sink.tls = authority.issue("mx.d.test").context()
    sink.requiretls = True
    sending = relay()
    sending.domain("d.test", "mx.d.test", policy="testing mx.d.test")
    await sending.send("a@d.test")
    ((_, outcome, facts),) = await sending.send("b@d.test", requiretls=True)
    assert outcome.status is Status.DELIVERED
    assert facts["tls_policy"]["requiretls"] is True
    assert "REQUIRETLS" not in sink.commands[0]
    assert sink.commands[1].startswith("TLS MAIL FROM:<a@b.test>")
    assert sink.commands[1].endswith(" REQUIRETLS")


@pytest.mark.parametrize(
    ("tls", "offered", "policy", "detail"),
    [
        (True, False, "enforce mx.d.test", "does not support REQUIRETLS"),
        (True, True, "", "vouched for by neither DNSSEC nor MTA-STS"),
        (True, True, "testing mx.e.test", "vouched for by neither"),
        (False, False, "testing mx.d.test", "not offered"),
    ],
)
async def test_requiretls_fails_where_it_is_not_to_be_had(
    relay: Start,
    sink: Any,
    authority: Any,
    tls: bool,  # noqa: FBT001
    offered: bool,  # noqa: FBT001
    policy: str,
    detail: str,
):
    sink.tls = authority.issue("mx.d.test").context() if tls else None
    sink.requiretls = offered
    sending = relay()
    sending.domain("d.test", "mx.d.test", policy=policy)
    ((_, outcome, facts),) = await sending.send("a@d.test", requiretls=True)
    assert outcome.status is Status.FAILED
    assert (outcome.reply.code, outcome.reply.enhanced) == (550, "5.7.30")
    assert detail in outcome.reply.text
    assert facts["tls_policy"]["kind"] == "requiretls"
    assert sink.commands == []
    ((_, outcome, _),) = await sending.send("b@d.test")
    assert outcome.status is Status.DELIVERED  # others are not concerned


async def test_requiretls_is_tried_again_where_a_host_was_only_away_or_a_policy_unknown(
    relay: Start, sink: Any, authority: Any, name_server: Any
):
    sink.tls = authority.issue("mx.d.test", "two.d.test").context()
    sending = relay()
    sending.domain("d.test", "mx.d.test", "two.d.test", policy="testing *.d.test")
    name_server.zone[("two.d.test", "A")] = "SERVFAIL"
    ((_, outcome, _),) = await sending.send("a@d.test", requiretls=True)
    assert outcome.status is Status.DEFERRED
    name_server.zone[("_mta-sts.e.test", "TXT")] = "SERVFAIL"
    sending.domain("e.test", "mx.d.test")
    ((_, outcome, _),) = await sending.send("a@e.test", requiretls=True)
    assert (outcome.status, outcome.reply.enhanced) == (Status.DEFERRED, "4.7.5")


async def test_smart_host_is_trusted_by_name_for_requiretls(
    relay: Start, sink: Any, authority: Any, name_server: Any
):
    sink.tls = authority.issue("relay.test").context()
    sink.requiretls = True
    name_server.zone[("relay.test", "A")] = ["127.0.0.1"]
    sending = relay(host="relay.test")
    sending.domain("d.test", "mx.d.test", policy="enforce mx.d.test")
    (plain,) = await sending.send("a@d.test")
    assert policy_of(plain) == {"kind": "none"}  # the policy is for those who go to the MX
    ((_, outcome, _),) = await sending.send("b@d.test", requiretls=True)
    assert outcome.status is Status.DELIVERED
    assert sink.commands[1].endswith(" REQUIRETLS")


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


# -- DANE


def tlsa(certificate: Any, kind: str = "3 1 1") -> str:
    key = certificate.public_key()
    data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{kind} {hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def secure(relay: Start, name_server: Any) -> Start:
    """Return a relay that trusts its resolver, which vouches for `.test`."""
    name_server.signed = (".test",)

    def start(**changes: Any) -> Relay:
        return relay(dnssec=True, **changes)

    return start


def publish(name_server: Any, sink: Any, *records: str, host: str = "mx.d.test") -> None:
    name_server.zone[(f"_{sink.port}._tcp.{host}", "TLSA")] = list(records)


async def test_dane_ee_record_that_fits_is_all_that_is_needed(
    secure: Start, sink: Any, authority: Any, name_server: Any
):
    mine = authority.issue("elsewhere.test", days=-1)
    sink.tls = mine.context()
    publish(name_server, sink, tlsa(mine.certificate))
    sending = secure()
    # DANE goes before MTA-STS
    sending.domain("d.test", "mx.d.test", policy="enforce mx.other.test")
    ((_, outcome, facts),) = await sending.send("a@d.test")
    assert outcome.status is Status.DELIVERED
    expected = {"kind": "dane", "mode": "enforce", "result": "ok", "detail": "TLSA 3 1 1"}
    assert facts["tls_policy"] == expected
    assert "unverified" not in facts["tls"]


@pytest.mark.parametrize("names", [["mx.d.test"], ["d.test"]])
async def test_dane_ta_record_fits_a_certificate_for_the_host_or_the_domain(
    secure: Start, sink: Any, authority: Any, name_server: Any, names: list[str]
):
    sink.tls = authority.issue(*names).context()
    publish(name_server, sink, tlsa(authority.between, "2 1 1"))
    sending = secure(connections=1)
    sending.domain("d.test", "mx.d.test")
    sending.domain("e.test", "mx.d.test")
    one, two = await sending.send("a@d.test", "b@e.test")
    assert one[1].status is Status.DELIVERED
    # what is proved for d.test by its own name is not for e.test
    assert two[1].status is (Status.DELIVERED if "mx.d.test" in names else Status.DEFERRED)


@pytest.mark.parametrize(
    ("offered", "detail"), [(True, "fits no TLSA record"), (False, "not offered")]
)
async def test_dane_record_that_does_not_fit_defers_whatever_mta_sts_says(
    secure: Start,
    sink: Any,
    authority: Any,
    name_server: Any,
    offered: bool,  # noqa: FBT001
    detail: str,
):
    mine, other = authority.issue("mx.d.test"), authority.issue("mx.d.test")
    sink.tls = mine.context() if offered else None
    publish(name_server, sink, tlsa(other.certificate))
    sending = secure()
    sending.domain("d.test", "mx.d.test", policy="enforce mx.d.test")
    ((_, outcome, facts),) = await sending.send("a@d.test")
    assert (outcome.status, outcome.reply.enhanced) == (Status.DEFERRED, "4.7.5")
    assert outcome.reply.text.startswith("DANE: ")
    assert detail in outcome.reply.text
    assert facts["tls_policy"]["kind"] == "dane"
    assert sink.commands == []


async def test_tlsa_records_that_cannot_be_used_ask_for_tls_and_no_more(
    secure: Start, sink: Any, authority: Any, name_server: Any
):
    publish(name_server, sink, "1 1 1 " + "00" * 32)
    sending = secure()
    sending.domain("d.test", "mx.d.test")
    ((_, outcome, _),) = await sending.send("a@d.test")
    assert outcome.status is Status.DEFERRED
    sink.tls = authority.issue("elsewhere.test").context()
    ((_, outcome, facts),) = await sending.send("b@d.test")
    assert outcome.status is Status.DELIVERED
    assert facts["tls_policy"]["mode"] == "encrypt"
    assert sink.commands[0].startswith("TLS ")


async def test_tlsa_answer_that_fails_keeps_mail_from_that_host_and_not_from_the_next(
    secure: Start, sink: Any, name_server: Any
):
    name_server.zone[(f"_{sink.port}._tcp.one.d.test", "TLSA")] = "SERVFAIL"
    sending = secure()
    sending.domain("d.test", "one.d.test")
    ((_, outcome, facts),) = await sending.send("a@d.test")
    assert (outcome.status, facts["tls_policy"]["kind"]) == (Status.DEFERRED, "dane")
    assert sink.commands == []
    sending.domain("e.test", "one.d.test", "two.d.test")
    ((_, outcome, facts),) = await sending.send("a@e.test")
    assert (outcome.status, facts["host"]) == (Status.DELIVERED, "two.d.test")


@pytest.mark.parametrize(
    ("signed", "unsigned"),
    [
        ((), ()),
        ((".test",), ("_tcp.mx.site.test",)),
        (("site.test",), ()),
        (("d.test", "_tcp.mx.site.test"), ()),
    ],
)
async def test_tlsa_records_count_only_if_everything_on_the_way_is_signed(
    secure: Start, sink: Any, authority: Any, name_server: Any, signed: Any, unsigned: Any
):
    name_server.signed, name_server.unsigned = signed, unsigned
    sink.tls = authority.issue("mx.site.test").context()
    publish(name_server, sink, "3 1 1 " + "00" * 32, host="mx.site.test")
    sending = secure()
    sending.domain("d.test", "mx.site.test")
    ((_, outcome, facts),) = await sending.send("a@d.test")
    assert outcome.status is Status.DELIVERED
    assert facts["tls_policy"] == {"kind": "none"}


async def test_resolver_that_is_not_trusted_is_not_believed(
    relay: Start, sink: Any, authority: Any, name_server: Any
):
    name_server.signed = (".test",)
    sink.tls = authority.issue("mx.d.test").context()
    publish(name_server, sink, "3 1 1 " + "00" * 32)
    sending = relay()
    sending.domain("d.test", "mx.d.test")
    ((_, outcome, _),) = await sending.send("a@d.test")
    assert outcome.status is Status.DELIVERED
    assert all(kind != "TLSA" for _, kind in name_server.asked)


async def test_alias_has_its_tlsa_records_under_its_real_name(
    secure: Start, sink: Any, authority: Any, name_server: Any
):
    mine = authority.issue("elsewhere.test")
    sink.tls = mine.context()
    publish(name_server, sink, tlsa(mine.certificate), host="real.test")
    publish(name_server, sink, "3 1 1 " + "00" * 32)
    sending = secure()
    sending.domain("d.test", "mx.d.test")
    name_server.zone[("mx.d.test", "A")] = ["CNAME real.test.", "real.test.|127.0.0.1"]
    ((_, outcome, facts),) = await sending.send("a@d.test")
    assert outcome.status is Status.DELIVERED
    assert facts["tls_policy"]["kind"] == "dane"


async def test_domains_with_dane_and_with_mta_sts_share_a_connection_that_proves_both(
    secure: Start, sink: Any, authority: Any, name_server: Any
):
    mine = authority.issue("mx.site.test")
    sink.tls = mine.context()
    publish(name_server, sink, tlsa(mine.certificate), host="mx.site.test")
    name_server.signed = ("site.test", "signed.test")
    sending = secure(connections=1)
    sending.domain("signed.test", "mx.site.test")
    sending.domain("sts.test", "mx.site.test", policy="enforce mx.site.test")
    addresses = [f"{n}@{'signed' if n % 2 else 'sts'}.test" for n in range(8)]
    disposition = await sending.send(*addresses)
    assert [ending[1].status for ending in disposition] == [Status.DELIVERED] * 8
    assert {policy_of(ending)["kind"] for ending in disposition} == {"dane", "mta-sts"}
    assert sink.connections <= 2


async def test_requiretls_is_content_with_dane(
    secure: Start, sink: Any, authority: Any, name_server: Any
):
    mine = authority.issue("elsewhere.test")
    sink.tls, sink.requiretls = mine.context(), True
    publish(name_server, sink, tlsa(mine.certificate))
    sending = secure()
    sending.domain("d.test", "mx.d.test")
    ((_, outcome, _),) = await sending.send("a@d.test", requiretls=True)
    assert outcome.status is Status.DELIVERED
    assert sink.commands[0].endswith(" REQUIRETLS")
