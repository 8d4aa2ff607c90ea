"""What messages themselves ask of TLS: REQUIRETLS, and TLS-Required: No."""

from collections.abc import Callable
from typing import Any

import pytest

from postroad_sender.delivery.outcome import Outcome, Status
from postroad_sender.tls.requirement import is_waived

Start = Callable[..., Any]


def policy_of(ending: tuple[str, Outcome, dict[str, Any]]) -> dict[str, Any]:
    return dict(ending[2]["tls_policy"])


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
