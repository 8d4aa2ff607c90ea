"""What a server offers decides in what form a message goes there."""

from typing import Any

import pytest

from postroad_sender.delivery.outcome import Status
from postroad_testing.factories import MIME, outbound_recipient
from postroad_testing.mailhost import MailHost, SloppyMailHost


async def test_server_that_cannot_pipeline_gets_commands_one_by_one_the_next_time(site: Any):
    host = SloppyMailHost()
    await site.open(host)
    (outcome,) = await site.send("one@site.test")
    assert (outcome.status, outcome.reply.enhanced) == (Status.DEFERRED, "4.5.0")
    (outcome,) = await site.send("two@site.test")
    assert outcome.status is Status.DELIVERED
    assert host.taken == [["two@site.test"]]


EIGHT = "Subject: Grüße\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n".encode()


@pytest.mark.parametrize("changes", [{"kind": "dsn", "mail_from": ""}, {"kind": "forward"}, {}])
async def test_8bit_content_is_converted_where_8bitmime_is_not_offered(
    site: Any, changes: dict[str, Any]
):
    host = MailHost()
    await site.open(host)
    (outcome,) = await site.send("one@site.test", octets=EIGHT, **changes)
    assert outcome.status is Status.DELIVERED
    (message,) = host.messages
    assert message.isascii()
    assert b"Gr=C3=BC=C3=9Fe" in message


async def test_signed_mail_goes_out_as_it_is_where_8bitmime_is_not_offered(site: Any):
    host = MailHost()
    await site.open(host)
    signed = b"DKIM-Signature: v=1; a=rsa-sha256\r\n" + EIGHT
    (outcome,) = await site.send("one@site.test", octets=signed)
    assert outcome.status is Status.DELIVERED
    assert host.messages == [signed]


async def test_8bit_content_goes_out_as_it_is_where_8bitmime_is_offered(site: Any):
    host = MailHost(EHLO="250-host\r\n250-SIZE 1000\r\n250 8BITMIME")
    await site.open(host)
    (outcome,) = await site.send("one@site.test", octets=EIGHT, kind="dsn")
    assert outcome.status is Status.DELIVERED
    assert host.messages == [EIGHT]
    assert host.commands == [f"MAIL FROM:<a@b.test> SIZE={len(EIGHT)} BODY=8BITMIME"]


async def test_size_that_is_declared_is_that_of_what_is_sent(site: Any):
    host = MailHost(EHLO="250-host\r\n250 SIZE 1000")
    await site.open(host)
    await site.send("one@site.test", octets=EIGHT, kind="dsn")
    assert host.commands == [f"MAIL FROM:<a@b.test> SIZE={len(host.messages[0])}"]


@pytest.mark.parametrize(
    ("ehlo", "octets", "sent"),
    [
        ("250 host", b"Subject: x\r\n\r\nx\r\n", b"Subject: x\r\n\r\nx\r\n"),
        ("250-host\r\n250 8BITMIME", b"DKIM-Signature: x\r\n" + EIGHT, None),
        ("250-host\r\n250 8BITMIME", EIGHT, b"Subject: =?utf-8?b?"),
        ("250 host", EIGHT, b"Subject: =?utf-8?b?"),
    ],
)
async def test_mail_that_was_declared_with_smtputf8_without_need_is_taken_without_it(
    site: Any, ehlo: str, octets: bytes, sent: bytes | None
):
    host = MailHost(EHLO=ehlo)
    await site.open(host)
    (outcome,) = await site.send("one@site.test", octets=octets, smtputf8=True)
    assert outcome.status is Status.DELIVERED
    assert "SMTPUTF8" not in host.commands[0]
    assert host.messages[0].startswith(octets if sent is None else sent)


@pytest.mark.parametrize(
    ("address", "octets"),
    [
        ("grüße@site.test", MIME),
        ("one@site.test", "From: Jörg <jörg@b.test>\r\n\r\nx\r\n".encode()),
    ],
)
async def test_mail_with_addresses_beyond_ascii_fails_where_smtputf8_is_not_offered(
    site: Any, address: str, octets: bytes
):
    host = MailHost()
    await site.open(host)
    (outcome,) = await site.send(address, octets=octets, smtputf8=True)
    assert (outcome.status, outcome.reply.enhanced) == (Status.FAILED, "5.6.7")
    assert host.commands == []


# -- servers that refuse a parameter of what they offer

ALL = "250-host\r\n{}250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN"


@pytest.mark.parametrize("pipelining", ["", "250-PIPELINING\r\n"], ids=["singly", "together"])
@pytest.mark.parametrize(
    ("unknown", "octets"),
    [("SIZE=", MIME), ("RET=", MIME), ("BODY=", EIGHT)],
    ids=["size", "dsn", "8bitmime"],
)
async def test_parameter_that_is_offered_and_refused_is_left_out_in_the_same_session(
    site: Any, pipelining: str, unknown: str, octets: bytes
):
    host = MailHost(EHLO=ALL.format(pipelining))
    host.unknown = (unknown,)
    await site.open(host)
    (outcome,) = await site.send("one@site.test", octets=octets, ret="hdrs")
    assert outcome.status is Status.DELIVERED
    assert host.sessions == 1
    assert unknown in host.commands[0]
    assert unknown not in host.commands[-1]
    assert "refused before and left out: " in outcome.said
    await site.send("two@site.test", octets=octets, ret="hdrs")
    before, after = (command for command in host.commands[-2:])
    assert unknown not in before + after  # it is not offered again


async def test_recipient_whose_notify_is_refused_is_offered_without_it_and_no_other_twice(
    site: Any,
):
    host = MailHost(EHLO=ALL.format(""))
    host.unknown = ("NOTIFY=",)
    await site.open(host)
    addresses = ("one@site.test", "two@site.test")
    wishing, plain = (outbound_recipient(address, id=address) for address in addresses)
    wishing = wishing.model_copy(update={"notify": ("success",)})
    outcomes = await site.send(*addresses, recipients=(wishing, plain))
    assert [outcome.status for outcome in outcomes] == [Status.DELIVERED] * 2
    assert host.taken == [["two@site.test"], ["one@site.test"]]
    assert site.ended.remembered[0] == "two@site.test"
    assert [outcome.server.dsn for outcome in outcomes] == [False, True]  # who tells of success


async def test_parameter_that_a_message_needs_is_not_left_out(site: Any):
    host = MailHost(EHLO="250-host\r\n250 SMTPUTF8")
    host.unknown = ("SMTPUTF8",)
    await site.open(host)
    (outcome,) = await site.send("grüße@site.test", smtputf8=True)
    assert (outcome.status, outcome.reply.code) == (Status.FAILED, 555)
    assert len(host.commands) == 1
