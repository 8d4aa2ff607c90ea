"""Sender domains: keys, records, and what DNS says of them, asked of a real name server."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from postroad_common.store.domains import SenderDomain
from postroad_ingress_http.domains.dkimkeys import new_keys
from postroad_ingress_http.domains.dnscheck import DnsChecker
from postroad_ingress_http.domains.dnsrecords import DnsRules, is_verified, judge, recommended

RULES = DnsRules("mail.postroad.test")
KEYS = new_keys(1_790_000_000.0)
DOMAIN = SenderDomain("main", "shop.example", "abc", verified=False, created=0.0, keys=KEYS)
RECORDS = {record.key: record for record in recommended(DOMAIN, RULES)}


def test_keys_are_pairs_that_sign_and_verify():
    for key in KEYS:
        private = serialization.load_pem_private_key(key.private.encode(), None)
        public = base64.b64decode(key.public)
        if key.algorithm == "rsa":
            assert isinstance(private, rsa.RSAPrivateKey)
            loaded = serialization.load_der_public_key(public)
            assert isinstance(loaded, rsa.RSAPublicKey)
            signature = private.sign(b"x", padding.PKCS1v15(), hashes.SHA256())
            loaded.verify(signature, b"x", padding.PKCS1v15(), hashes.SHA256())
            assert loaded.key_size == 2048
        else:
            assert isinstance(private, ed25519.Ed25519PrivateKey)
            ed25519.Ed25519PublicKey.from_public_bytes(public).verify(private.sign(b"x"), b"x")


def test_new_keys_get_selectors_that_are_not_taken():
    taken = frozenset(key.selector for key in KEYS)
    for _ in range(30):
        fresh = {key.selector for key in new_keys(1_790_000_000.0, taken)}
        assert not fresh & taken
        taken |= fresh
        if len(taken) > 6:
            break


@pytest.mark.parametrize(
    ("key", "found", "status"),
    [
        ("ownership", ["postroad-verification=abc"], "ok"),
        ("ownership", ["other", "postroad-verification=abc"], "ok"),
        ("ownership", ["postroad-verification=abd"], "different"),
        ("ownership", [], "missing"),
        ("ownership", None, "unknown"),
        ("spf", ["v=spf1 include:_senderspf.mail.postroad.test a mx ~all"], "ok"),
        ("spf", ["V=SPF1 ip4:192.0.2.1 +include:_senderspf.mail.postroad.test -all"], "ok"),
        ("spf", ["v=spf1 mx -all"], "different"),
        ("spf", ["v=spf10 include:_senderspf.mail.postroad.test"], "missing"),
        ("spf", ["v=spf1 include:_senderspf.mail.postroad.test", "v=spf1 mx"], "different"),
        ("spf", ["google-site-verification=1"], "missing"),
        ("dmarc", ["v=DMARC1; p=reject; rua=mailto:a@b"], "ok"),
        ("dmarc", ["v=DMARC2; p=none"], "missing"),
    ],
)
def test_record_is_judged(key: str, found: list[str] | None, status: str):
    assert judge(RECORDS[key], found, RULES) == status


def test_key_record_may_be_spaced_differently():
    record = RECORDS[f"dkim {KEYS[0].selector}"]
    assert judge(record, [record.value.replace("; ", ";") + ";"], RULES) == "ok"
    assert judge(record, [record.value.replace("p=", "p=X")], RULES) == "different"


def test_domain_is_verified_by_ownership_or_by_all_keys():
    dkim = [key for key in RECORDS if key.startswith("dkim")]
    assert is_verified({"ownership": "ok"})
    assert is_verified(dict.fromkeys(dkim, "ok"))
    assert not is_verified({dkim[0]: "ok", dkim[1]: "missing"})
    assert not is_verified({"spf": "ok", "dmarc": "ok"})
    assert not is_verified({})


class NameServer(asyncio.DatagramProtocol):
    """Answers TXT questions from a table; `None` means SERVFAIL."""

    def __init__(self, table: dict[str, list[str] | None]) -> None:
        self.table = table

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        question = dns.message.from_wire(data)
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        name = question.question[0].name
        texts = self.table.get(name.to_text(omit_final_dot=True), [])
        if texts is None:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif not texts:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            chunks = [
                " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
                for text in texts
            ]
            answer.answer.append(dns.rrset.from_text_list(name, 60, "IN", "TXT", chunks))
        self.transport.sendto(answer.to_wire(), address)


@pytest.fixture
async def name_server() -> AsyncIterator[tuple[NameServer, str]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer({}), local_addr=("127.0.0.1", 0)
    )
    host, port = transport.get_extra_info("sockname")
    yield protocol, f"{host}:{port}"
    transport.close()


async def test_published_records_are_found_and_missing_ones_are_told(
    name_server: tuple[NameServer, str],
):
    server, address = name_server
    records = list(RECORDS.values())
    server.table = {record.name: [record.value] for record in records}
    server.table["_dmarc.shop.example"] = None
    checker = DnsChecker(address)
    found = await checker.texts(record.name for record in records)
    statuses = {record.key: judge(record, found[record.name], RULES) for record in records}
    assert statuses.pop("dmarc") == "unknown"
    assert set(statuses.values()) == {"ok"}
    other = replace(DOMAIN, domain="other.example")
    elsewhere = [record.name for record in recommended(other, RULES)]
    assert set(map(str, (await checker.texts(elsewhere)).values())) == {"[]"}
