"""What DANE makes of connections."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postroad_sender.delivery.outcome import Outcome, Status

Start = Callable[..., Any]


def policy_of(ending: tuple[str, Outcome, dict[str, Any]]) -> dict[str, Any]:
    return dict(ending[2]["tls_policy"])


def tlsa(certificate: Any, kind: str = "3 1 1") -> str:
    key = certificate.public_key()
    data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{kind} {hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def secure(relay: Start, name_server: Any) -> Start:
    """Return a relay that trusts its resolver, which vouches for `.test`."""
    name_server.signed = (".test",)

    def start(**changes: Any) -> Any:
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
