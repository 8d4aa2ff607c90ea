"""Routes, sites, signals, outcomes, schedule: what is decided without any I/O."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.reply import Reply
from postroad_sender.delivery.outcome import Status, expired, of_answer, of_error
from postroad_sender.delivery.schedule import SLACK, RetrySchedule, Stays, tier_for
from postroad_sender.dns.addresses import literal
from postroad_sender.dns.site import MAX_NAME, site_name
from postroad_sender.routes.routes import DIRECT, RouteError, Routes
from postroad_sender.throttle.signals import MAX_STATED_DELAY, RULES, Signal, classify, stated_delay
from postroad_smtp.client.session import TlsWish
from postroad_smtp.client.stage import Fault, Stage, WireError
from postroad_smtp.client.transaction import RecipientResult

TIERS = (1, 5, 30, 300, 1800)

# -- routes


def test_first_route_that_matches_wins():
    routes = Routes.parse(
        '[{"domain":"a.test","host":"10.0.0.1"},{"domain":"*.test","host":"10.0.0.2","port":2525,'
        '"tls":"required"},{"domain":"b.test","host":"10.0.0.3"}]'
    )
    assert routes.find("a.test").host == "10.0.0.1"
    assert routes.find("b.test").host == "10.0.0.2"
    assert (routes.find("b.test").port, routes.find("b.test").tls) == (2525, TlsWish.REQUIRED)
    assert routes.find("test") is DIRECT
    assert Routes.parse("").find("a.test") is DIRECT


def test_pattern_in_capitals_matches():
    assert Routes.parse('[{"domain":"*.TEST","host":"h.example"}]').find("a.test").host


def test_pattern_in_unicode_matches_domains_as_mail_has_them():
    routes = Routes.parse('[{"domain":"*.Bücher.test","host":"h.example"}]')
    assert routes.find("mail.xn--bcher-kva.test").host == "h.example"
    assert routes.find("mail.test").host is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("{}", "must be a JSON list"),
        ('[{"host":"x.test"}]', "route 1: domain"),
        ('[{"domain":"*","host":"x.test"},{"domain":"*","tls":"maybe"}]', "route 2: tls"),
        ('[{"domain":"*","port":0}]', "route 1: port"),
        ('[{"domain":"*","prot":25}]', "route 1: prot"),
        ('[{"domain":"*","host":"a b"}]', "route 1: host"),
        ('[{"domain":"*","host":"relay.test:587"}]', "route 1: host"),
        ('[{"domain":"*","host":"10.0.0"}]', "route 1: host"),
        ('[{"domain":"*","host":"[10.0.0.1]"}]', "route 1: host"),
        ('[{"domain":"*","host":"x.test","username":"u"}]', "username and password"),
        ('[{"domain":"*","username":"u","password":"hush"}]', "a login needs a host"),
    ],
)
def test_wrong_routes_are_refused_with_entry_and_field(text: str, says: str):
    with pytest.raises(RouteError) as caught:
        Routes.parse(text)
    assert says in str(caught.value)
    assert "hush" not in str(caught.value)


def test_certificate_is_checked_where_a_password_is_sent_unless_told_otherwise():
    entry = '[{"domain":"*","host":"x.test","username":"u","password":"p","tls":"required"%s}]'
    assert Routes.parse(entry % "").find("d.test").checks_certificate
    assert not Routes.parse(entry % ',"verify":false').find("d.test").checks_certificate
    assert not DIRECT.checks_certificate


# -- sites


def test_site_is_named_by_its_host_set_in_any_order_and_case():
    name = site_name(["ALT1.mx.example.", "mx.example", "alt2.mx.example"])
    assert name == site_name(["mx.example", "alt2.mx.example.", "alt1.mx.example"])
    assert site_name(["b.mx.example", "a.mx.example"]) == "(a|b).mx.example"
    assert site_name(["one.example", "two.test"]) == "(one.example|two.test)"


@given(st.lists(st.from_regex(r"[a-z]{1,10}(\.[a-z]{1,10}){1,4}", fullmatch=True), min_size=1))
def test_site_names_are_bounded_and_tell_sets_apart(hosts: list[str]):
    assert 0 < len(site_name(hosts)) <= MAX_NAME
    assert site_name(hosts) == site_name(reversed(hosts))
    assert site_name([*hosts, "other.host.example.zz0"]) != site_name(hosts)


# -- addresses


def test_domain_literals_give_their_address():
    assert literal("[192.0.2.1]") == "192.0.2.1"
    assert literal("[IPv6:2001:db8::1]") == "2001:db8::1"
    assert literal("example.com") is None


# -- signals


@pytest.mark.parametrize(
    ("text", "stage", "signal"),
    [
        ("250 2.0.0 ok", Stage.DOT, Signal.NONE),
        ("421 4.7.0 Too many concurrent SMTP connections", Stage.BANNER, Signal.CONNECTIONS),
        ("421 Service not available", Stage.BANNER, Signal.BUSY),
        (
            "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints",
            Stage.MAIL,
            Signal.REPUTATION,
        ),
        ("450 4.7.1 Error: too much mail, slow down", Stage.RCPT, Signal.RATE),
        ("450 4.7.1 rate limit exceeded", Stage.MAIL, Signal.RATE),
        (
            "421 4.7.28 Our system has detected an unusual rate of unsolicited mail",
            Stage.DOT,
            Signal.RATE,
        ),
        ("451 4.7.1 Greylisting in action, please come back later", Stage.RCPT, Signal.GREYLIST),
        (
            "450 4.2.0 <u@d.test>: Recipient address rejected: Greylisted",
            Stage.RCPT,
            Signal.GREYLIST,
        ),
        (
            "452 4.2.2 The email account that you tried to reach is over quota",
            Stage.RCPT,
            Signal.MAILBOX,
        ),
        ("552 5.2.2 mailbox full", Stage.RCPT, Signal.MAILBOX),
        ("550 5.1.1 no such user", Stage.RCPT, Signal.RECIPIENT),
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
            Stage.RCPT,
            Signal.REPUTATION,
        ),
        ("451 4.7.500 Server busy, access denied", Stage.MAIL, Signal.POLICY),
        ("554 no", Stage.BANNER, Signal.BUSY),
        ("451 4.3.0 local error", Stage.DOT, Signal.OTHER),
    ],
)
def test_replies_are_classified(text: str, stage: Stage, signal: Signal):
    assert classify(Reply.parse(text), stage) is signal


def test_mailbox_and_greylisting_do_not_slow_a_lane():
    for signal in (Signal.MAILBOX, Signal.GREYLIST, Signal.RECIPIENT, Signal.OTHER, Signal.NONE):
        assert not signal.slows
    assert all(rule.signal in set(Signal) for rule in RULES)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("450 4.7.1 Greylisted, try again in 300 seconds", 300),
        ("450 4.2.0 Greylisted for 5 minutes", 300),
        ("451 4.7.1 Please retry after 2 hours", 3600),
        ("421 4.7.0 Try again later, closing connection", None),
        ("450 4.7.1 please wait 00:01:30 and try again", 90),
        ("450 4.7.1 try again at 12:34:56", None),
        ("451 4.7.1 try again later (2026-11-29 12:34:56 UTC)", None),
        ("450 too many; come back in 10 mins", 600),
        ("450 limit is 100 messages per hour", None),
        ("550 5.7.1 try again in 5 minutes", None),
        ("450 try again in 0 seconds", None),
    ],
)
def test_stated_delays_are_read_and_capped(text: str, seconds: float | None):
    assert stated_delay(Reply.parse(text)) == seconds


@given(st.text(max_size=2000))
def test_any_text_is_classified_and_any_delay_is_bounded(text: str):
    reply = Reply(450, "", text)
    assert classify(reply, Stage.RCPT) in set(Signal)
    delay = stated_delay(reply)
    assert delay is None or 0 < delay <= MAX_STATED_DELAY


# -- outcomes


def test_5xx_before_the_message_is_offered_is_no_failure_of_the_message():
    outcome = of_error(WireError(Stage.BANNER, Reply(554, "5.7.1", "go away")))
    assert outcome.status is Status.DEFERRED
    assert of_answer(RecipientResult(Stage.RCPT, Reply(550, "5.1.1", "no"))).status is Status.FAILED


def test_definite_answer_of_dns_is_a_failure_and_no_answer_is_not():
    gone = of_error(WireError(Stage.ROUTE, Reply(556, "5.1.10", "null MX")))
    assert (gone.status, gone.local) == (Status.FAILED, True)
    silent = of_error(WireError(Stage.ROUTE, Fault.DNS, "no answer"))
    assert (silent.status, silent.reply.enhanced) == (Status.DEFERRED, "4.4.3")


def test_connection_lost_behind_the_dot_says_that_it_may_have_arrived():
    outcome = of_answer(RecipientResult(Stage.DOT, fault=Fault.DROPPED, detail="closed"))
    assert (outcome.status, outcome.certain) == (Status.DEFERRED, False)
    assert "may have arrived" in outcome.reply.text
    assert [outcome.is_quick(attempt) for attempt in range(3)] == [True, False, False]


def test_positive_reply_in_the_wrong_place_is_not_a_delivery():
    assert of_answer(RecipientResult(Stage.DOT, Reply(354, "", "go on"))).status is Status.DEFERRED
    assert of_answer(RecipientResult(Stage.DATA, Reply(250, "", "ok"))).status is Status.DEFERRED


def test_expiry_is_a_failure_that_names_the_last_reason():
    outcome = expired("450 busy")
    assert (outcome.status, str(outcome.reply)) == (
        Status.FAILED,
        "554 5.4.7 delivery time expired; 450 busy",
    )


# -- schedule


def test_schedule_repeats_its_last_value_with_a_tenth_of_jitter():
    schedule = RetrySchedule((10, 100))
    assert schedule.delay(0, chance=0.5) == 10
    assert schedule.delay(7, chance=0.5) == 100
    assert schedule.delay(1, chance=0.0) == pytest.approx(90)
    assert schedule.delay(1, chance=1.0) == pytest.approx(110)


def test_stated_delay_is_waited_at_least_and_replaces_the_first_wait():
    schedule = RetrySchedule((60, 600))
    assert schedule.delay(0, stated=300, chance=0.0) == 300
    assert schedule.delay(0, stated=5, chance=0.0) == 5
    assert schedule.delay(1, stated=900, chance=0.0) == 900
    assert schedule.delay(1, stated=5, chance=0.5) == 600


def test_rate_deferral_is_tried_again_soon_then_later():
    schedule = RetrySchedule((300,))
    waits = [schedule.delay(n, quick=True, chance=0.5) for n in range(12)]
    assert waits[:3] == [1, 2, 4]
    assert waits[-1] == 300


@pytest.mark.parametrize("text", ["", "a", "1,,2", "0", "-1", "1,nan", "1e9"])
def test_wrong_schedules_are_refused(text: str):
    with pytest.raises(ValueError, match="must be"):
        RetrySchedule.parse(text)


@given(st.floats(0.01, 100_000))
def test_any_delay_is_made_of_few_stays_and_not_overshot_by_much(delay: float):
    waited, stays = 0.0, 0
    while delay - waited > 1.0:
        waited += tier_for(delay - waited, TIERS)
        stays += 1
    assert waited <= max(1.0, delay * SLACK + 1.0)
    assert stays <= delay / 1800 + 6 + 10 + 6 + 5


def test_long_wait_is_made_of_short_stays_while_few_messages_wait():
    stays = Stays(TIERS, per_second=10.0)
    chosen = [stays.tier(7200.0, now=0.0) for _ in range(25)]
    assert chosen == [30] * 10 + [300] * 10 + [1800] * 5
    assert stays.tier(7200.0, now=0.11) == 30  # one more in a tenth of a second
    assert [stays.tier(20.0, now=0.11), stays.tier(4.0, now=0.11)] == [5, 1]


@given(st.lists(st.floats(0.5, 20_000), min_size=1, max_size=100))
def test_stay_is_never_longer_than_without_regard_to_how_many_wait(waits: list[float]):
    stays = Stays(TIERS, per_second=5.0)
    for number, seconds in enumerate(waits):
        assert stays.tier(seconds, now=number * 0.01) <= tier_for(seconds, TIERS)
