"""Opening a session: greeting, EHLO, STARTTLS, AUTH."""

import ssl
from dataclasses import replace
from typing import Any

import pytest

from postroad_smtp.client.commands import Envelope, Rcpt
from postroad_smtp.client.session import SmarthostLogin, Timeouts, TlsWish
from postroad_smtp.client.stage import Fault, Stage, WireError
from postroad_smtp.client.transaction import transact
from postroad_testing.certificates import Issued
from postroad_testing.dialogserver import Start

PATIENT = Timeouts(connect=60, greeting=60, command=60, block=60, dot=60)
ONE = Envelope("a@b.test", (Rcpt("c@d.test"),), size=20)
MESSAGE = (b"Subject: x\r\n\r\nhello\r\n",)


def lax() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# -- a transaction


async def test_ehlo_refused_falls_back_to_helo(dialog: Start, connect: Any):
    server = await dialog("ehlo_refused")
    session = await connect(server)
    assert not session.pipelining
    assert session.usable


@pytest.mark.parametrize(
    ("name", "reply", "stage"),
    [
        ("refused_at_the_banner", "421 4.7.0 too many connections", Stage.BANNER),
        ("refused_at_the_banner", "554 5.7.1 blocked", Stage.BANNER),
        ("refused_at_ehlo", "421 bye", Stage.EHLO),
        ("refused_at_helo", "550 no", Stage.EHLO),
    ],
)
async def test_refused_opening_tells_stage_and_reply(
    dialog: Start, connect: Any, name: str, reply: str, stage: Stage
):
    server = await dialog(name, reply=reply)
    with pytest.raises(WireError) as caught:
        await connect(server)
    assert caught.value.stage is stage
    assert str(caught.value.reply) == reply


async def test_silent_server_is_a_timeout_at_the_banner(dialog: Start, connect: Any):
    server = await dialog("silence")
    with pytest.raises(WireError) as caught:
        await connect(server, timeouts=replace(PATIENT, greeting=0.05))
    assert (caught.value.stage, caught.value.fault) == (Stage.BANNER, Fault.TIMEOUT)


async def test_starttls_is_used_where_offered_and_told(dialog: Start, connect: Any):
    server = await dialog("message_taken_under_tls")
    session = await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert session.tls is not None
    assert session.protection.startswith("TLSv1.3 TLS_")
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered


async def test_verified_certificate_is_told(dialog: Start, connect: Any, certificate: Issued):
    server = await dialog("opening_under_tls")
    context = ssl.create_default_context(cafile=str(certificate.path))
    session = await connect(server, tls=TlsWish.REQUIRED, context=context)
    assert session.tls is not None
    assert session.tls.verified


async def test_unknown_certificate_is_tls_fault_where_it_must_be_good(dialog: Start, connect: Any):
    server = await dialog("opening_under_tls")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.REQUIRED, context=ssl.create_default_context())
    assert (caught.value.stage, caught.value.fault) == (Stage.STARTTLS, Fault.TLS)
    assert "self-signed" in caught.value.detail


async def test_octets_after_the_reply_to_starttls_end_the_connection(dialog: Start, connect: Any):
    server = await dialog("octets_before_the_handshake")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert caught.value.fault is Fault.TLS
    assert "in clear" in caught.value.detail


async def test_421_to_starttls_is_about_the_connection_and_not_about_tls(
    dialog: Start, connect: Any
):
    server = await dialog("starttls_answered_with_421")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert str(caught.value.reply) == "421 4.7.0 too many connections"


@pytest.mark.parametrize("name", ["a" * 70 + ".test", r"x\..test", ".test"])
async def test_name_that_no_certificate_can_have_is_tls_fault(
    dialog: Start, connect: Any, name: str
):
    server = await dialog("opening_under_tls")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax(), host=name)
    assert (caught.value.stage, caught.value.fault) == (Stage.STARTTLS, Fault.TLS)


async def test_required_tls_that_is_not_offered_ends_it(dialog: Start, connect: Any):
    server = await dialog("opened_and_left")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.REQUIRED, context=lax())
    assert caught.value.fault is Fault.TLS
    await server.finished()


async def test_auth_login_under_tls(dialog: Start, connect: Any):
    server = await dialog("auth_login_under_tls")
    session = await connect(
        server, tls=TlsWish.REQUIRED, context=lax(), login=SmarthostLogin("me", "secret")
    )
    (answer,) = await transact(session, ONE, MESSAGE)
    assert answer.is_delivered


async def test_auth_plain_refused_tells_the_reply(dialog: Start, connect: Any):
    server = await dialog("auth_plain_refused")
    with pytest.raises(WireError) as caught:
        await connect(server, login=SmarthostLogin("me", "secret"))
    assert caught.value.stage is Stage.AUTH
    assert str(caught.value.reply) == "535 5.7.8 no"


async def test_password_is_never_sent_in_clear_unless_the_route_says_no_tls(
    dialog: Start, connect: Any
):
    server = await dialog("opened_and_left")
    with pytest.raises(WireError) as caught:
        await connect(
            server, tls=TlsWish.OPPORTUNISTIC, context=lax(), login=SmarthostLogin("me", "x")
        )
    assert (caught.value.stage, caught.value.fault) == (Stage.AUTH, Fault.TLS)
    await server.finished()


def test_password_is_not_in_the_text_of_a_login():
    assert "secret" not in repr(SmarthostLogin("me", "secret"))


async def test_stray_octets_in_clear_after_the_reply_to_starttls_end_the_connection(
    dialog: Start,
    connect: Any,
):
    server = await dialog("stray_octets_before_the_handshake")
    with pytest.raises(WireError) as caught:
        await connect(server, tls=TlsWish.OPPORTUNISTIC, context=lax())
    assert "in clear" in caught.value.detail
