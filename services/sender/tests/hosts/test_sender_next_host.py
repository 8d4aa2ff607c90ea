"""Hosts that talk and do not take mail: the next one is asked, where that may help."""

from typing import Any

import pytest

from postroad_sender.delivery.outcome import Status
from postroad_testing.mailhost import CLOSE, MailHost

ILL = [
    {"MAIL": "451 4.3.0 temporary failure"},
    {"MAIL": "421 4.3.2 shutting down"},
    {"MAIL": CLOSE},
    {"RCPT": "451 4.3.0 lookup failure"},
    {"RCPT": "450 4.7.1 service unavailable - try again later"},
    {"RCPT": "421 4.3.2 shutting down"},
    {"RCPT": CLOSE},
    {"DATA": "452 4.3.1 insufficient system storage"},
    {"DATA": CLOSE},
    {"DATA": "250 2.0.0 ok"},
    {"DOT": "451 4.3.0 queue file write error"},
    {"DOT": "421 4.3.0 later"},
]


@pytest.mark.parametrize("answers", ILL, ids=lambda answers: next(iter(answers.items()))[0])
async def test_next_host_takes_what_the_first_does_not_and_the_first_is_remembered(
    site: Any, answers: dict[str, str]
):
    first, second = MailHost(**answers), MailHost()
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert outcome.status is Status.DELIVERED
    assert outcome.server is not None
    assert outcome.server.host == "mx2.test"
    assert "mx1.test" in outcome.said
    assert first.sessions == 1
    assert second.taken == [["one@site.test"]]
    await site.send("two@site.test")
    assert (first.sessions, second.sessions) == (1, 1)


@pytest.mark.parametrize(
    "reply",
    [
        "450 4.2.0 greylisted, please come back later",
        "452 4.2.2 mailbox full",
        "450 4.1.1 user is not known yet",
        "450 4.2.1 mailbox disabled for now",
        "450 Requested mail action not taken: mailbox unavailable",
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
        "550 5.1.1 no such user",
    ],
)
async def test_what_is_about_the_mailbox_is_not_asked_of_another_host(site: Any, reply: str):
    first, second = MailHost(RCPT=reply), MailHost()
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert outcome.status is (Status.FAILED if reply.startswith("5") else Status.DEFERRED)
    assert second.sessions == 0
    await site.send("two@site.test")
    assert second.sessions == 0


async def test_only_those_that_the_first_host_left_are_offered_to_the_next(site: Any):
    first, second = MailHost(), MailHost()
    first.ill = {"b@site.test": "451 4.3.0 later", "c@site.test": "550 5.1.1 unknown"}
    await site.open(first, second)
    a, b, c = await site.send("a@site.test", "b@site.test", "c@site.test")
    assert (a.status, b.status, c.status) == (Status.DELIVERED, Status.DELIVERED, Status.FAILED)
    assert first.taken == [["a@site.test"]]
    assert second.taken == [["b@site.test"]]
    assert [one.server and one.server.host for one in (a, b)] == ["mx1.test", "mx2.test"]
    assert site.ended.remembered[0] == "a@site.test"  # before the second host was called
    assert all(len(outcomes) == 1 for outcomes in site.ended.outcomes.values())


async def test_connection_lost_behind_the_dot_is_not_sent_to_the_next_host_at_once(site: Any):
    first, second = MailHost(DOT=CLOSE), MailHost()
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert (outcome.status, outcome.certain) == (Status.DEFERRED, False)
    assert second.sessions == 0
    (outcome,) = await site.send("two@site.test")  # as its next attempt would be
    assert outcome.status is Status.DELIVERED
    assert second.taken == [["two@site.test"]]
    assert first.sessions == 1


async def test_when_no_host_takes_it_the_message_is_deferred_once_and_tells_both(site: Any):
    first, second = MailHost(MAIL="451 4.3.0 first"), MailHost(MAIL="451 4.3.0 second")
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert outcome.status is Status.DEFERRED
    assert outcome.reply.text == "second"
    assert "451 4.3.0 first" in outcome.said
    assert (first.sessions, second.sessions) == (1, 1)
    assert len(site.ended.outcomes["one@site.test"]) == 1


async def test_a_host_that_is_alone_keeps_its_session_for_the_next_message(site: Any):
    alone = MailHost(RCPT="451 4.3.0 later")
    await site.open(alone)
    await site.send("one@site.test")
    await site.send("two@site.test")
    assert alone.sessions == 1


async def test_host_that_hangs_up_behind_ehlo_is_passed_over(site: Any):
    first, second = MailHost(EHLO="421 4.3.2 not now"), MailHost()
    await site.open(first, second)
    (outcome,) = await site.send("one@site.test")
    assert outcome.status is Status.DELIVERED
    assert second.taken == [["one@site.test"]]
