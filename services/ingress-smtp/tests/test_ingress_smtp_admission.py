"""Counting: connections, rates, failures, credentials on the wire, and who is in which network."""

import asyncio
import base64
import contextlib
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.store.credentials import Credential
from postroad_ingress_smtp import replies
from postroad_ingress_smtp.admission import (
    Admission,
    Admissions,
    ConnectionLimiter,
    Memory,
    client_key,
    rates,
)
from postroad_ingress_smtp.authentication import Authentication
from postroad_ingress_smtp.failures import Failures
from postroad_ingress_smtp.limits import SmtpLimits
from postroad_ingress_smtp.logins import Logins
from postroad_ingress_smtp.proxy import in_networks
from postroad_smtp.server import sasl


@given(steps=st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", None])), max_size=60))
def test_connections_are_never_more_than_allowed_and_all_come_back(
    steps: list[tuple[bool, str | None]],
):
    limiter = ConnectionLimiter(total=5, per_key=2)
    held: list[str | None] = []
    for take, key in steps:
        if take:
            free = len(held) < 5 and (key is None or held.count(key) < 2)
            assert limiter.take(key) == free
            if free:
                held.append(key)
        elif key in held:
            held.remove(key)
            limiter.release(key)
        assert limiter.open == len(held)
    for key in held:
        limiter.release(key)
    assert limiter.open == 0
    assert not limiter._by_key


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["come", "log in", "leave", "wait"]), st.integers(0, 30)),
        max_size=80,
    )
)
def test_who_waits_longest_makes_room_and_those_who_logged_in_stay(steps: list[tuple[str, int]]):
    now = 0.0
    limiters = ConnectionLimiter(6, 3), ConnectionLimiter(4, 2)
    admissions = Admissions(*limiters, grace=3.0, clock=lambda: now)
    waiting: dict[Admission, float] = {}
    logged_in: list[Admission] = []
    gone: list[Admission] = []
    for step, number in steps:
        now += 1.0
        if step == "come":
            admission = admissions.take(str(number % 7))
            if admission is not None:
                admission.give_way = lambda gone=gone, it=admission: gone.append(it)
            for one in gone:
                since = waiting.pop(one)
                assert now - since >= 3.0
                assert all(since <= other for other in waiting.values())
            gone.clear()
            if admission is not None:
                waiting[admission] = now
        elif step == "log in" and waiting:
            admission = list(waiting)[number % len(waiting)]
            admission.logged_in()
            del waiting[admission]
            logged_in.append(admission)
        elif step == "leave" and (waiting or logged_in):
            everybody = [*waiting, *logged_in]
            admission = everybody[number % len(everybody)]
            admission.release()
            admission.release()  # as when it ends after its place has gone
            waiting.pop(admission, None)
            if admission in logged_in:
                logged_in.remove(admission)
        assert limiters[0].open == len(waiting) + len(logged_in) <= 6
        assert limiters[1].open == len(waiting) <= 4


@given(sizes=st.lists(st.integers(0, 400_000), max_size=10))
def test_memory_is_never_more_than_allowed_and_comes_back(sizes: list[int]):
    memory = Memory(1_000_000)
    lease = memory.lease()
    for size in sizes:
        could = lease.could_grow(size)
        grown = lease.grow(size)
        assert could or not grown
        assert memory.used <= 1_000_000
        if grown:
            assert memory.used >= 2 * size
    lease.release()
    assert memory.used == 0


def test_a_rate_lets_a_minutes_worth_through():
    buckets = rates(60, 60)
    assert buckets is not None
    assert [buckets.take("a", 0.0) for _ in range(60)] == [0.0] * 60
    assert buckets.take("a", 0.0) == pytest.approx(1.0)
    assert rates(0, 60) is None


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_clients_are_counted_by_address_or_by_network(address: str, key: str):
    assert client_key(address) == key


def test_delays_double_up_to_the_longest_and_fade():
    failures = Failures(SmtpLimits(auth_delay_seconds=1, auth_delay_max_seconds=10))
    delays = [failures.failed("192.0.2.1", "ann", 0.0) for _ in range(6)]
    assert delays == [1, 2, 4, 8, 10, 10]
    assert failures.failed("192.0.2.1", "ann", 1e6) == pytest.approx(1)


def test_a_guessed_login_is_blocked_but_not_for_its_owner():
    failures = Failures(SmtpLimits(auth_failures_per_login=3, auth_failures_per_address=100))
    failures.succeeded("192.0.2.1", "ann")
    for host in range(3):
        failures.failed(f"198.51.100.{host}", "ann", 0.0)
    assert failures.blocked("198.51.100.9", "ann", 0.0)
    assert not failures.blocked("192.0.2.1", "ann", 0.0)
    assert not failures.blocked("198.51.100.9", "bob", 0.0)
    failures.failed("192.0.2.1", "ann", 0.0)
    assert failures.blocked("192.0.2.1", "ann", 0.0)


def test_attempts_in_progress_count_as_failures():
    failures = Failures(SmtpLimits(auth_failures_per_address=3))
    failures.failed("192.0.2.1", "ann", 0.0)
    with failures.trying("192.0.2.1", "ann"):
        assert not failures.blocked("192.0.2.1", "bob", 0.0)
        with failures.trying("192.0.2.1", "eve"):
            assert failures.blocked("192.0.2.1", "bob", 0.0)
            assert not failures.blocked("192.0.2.2", "bob", 0.0)
    assert not failures.blocked("192.0.2.1", "bob", 0.0)


async def test_many_attempts_at_once_do_not_pass_the_limit():
    limits = SmtpLimits(auth_failures_per_address=20, auth_delay_seconds=0, auth_waiting=100)
    looked_at = 0

    async def find(username: str) -> Credential | None:  # noqa: ARG001 - nobody is known
        nonlocal looked_at
        looked_at += 1
        await asyncio.sleep(0)
        return None

    logins = Logins(find, limits, lambda: 0.0)
    try:
        authentication = Authentication(logins, Failures(limits), lambda: 0.0)
        answers = await asyncio.gather(
            *(
                authentication.check(sasl.SaslCredentials(f"guess{number}", "x"), "192.0.2.1")
                for number in range(60)
            )
        )
    finally:
        logins.close()
    assert looked_at == 60
    assert answers.count(replies.AUTH_FAILED) == 20
    assert answers.count(replies.AUTH_BLOCKED) == 40


def test_a_blocked_address_is_listened_to_again_later():
    failures = Failures(SmtpLimits(auth_failures_per_address=4, auth_window_seconds=100))
    for _ in range(4):
        failures.failed("192.0.2.1", "ann", 0.0)
    assert failures.blocked("192.0.2.1", "bob", 0.0)
    assert not failures.blocked("192.0.2.1", "bob", 100.0)


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


@given(name=WORDS, password=WORDS)
def test_plain_credentials_are_read_as_they_were_written(name: str, password: str):
    message = base64.b64encode(f"\0{name}\0{password}".encode())
    if not name.isprintable():
        return
    credentials = sasl.plain(sasl.decode(message))
    assert (credentials.username, credentials.password) == (name, password)
    assert repr(credentials) == f"SaslCredentials(username={name!r})"


@given(message=st.binary(max_size=60))
def test_nothing_but_the_two_errors_comes_of_hostile_responses(message: bytes):
    with contextlib.suppress(sasl.NotBase64Error, sasl.NoCredentialsError):
        sasl.plain(sasl.decode(message))


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.9", True),
        ("::ffff:192.0.2.9", True),
        ("192.0.3.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("not an address", False),
    ],
)
def test_networks(address: str, *, inside: bool):
    networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    assert in_networks(address, networks) is inside
