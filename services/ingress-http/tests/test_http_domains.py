"""Sender domains: keys, records, and what DNS says of them, asked of a real name server."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from typing import Any

import dns.zone
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from postroad_common.store import Database
from postroad_common.store.domains import DkimKey, SenderDomain
from postroad_ingress_http.domains import rotation
from postroad_ingress_http.domains.dkimkeys import new_keys
from postroad_ingress_http.domains.dnscheck import DnsChecker
from postroad_ingress_http.domains.dnsrecords import (
    DnsRules,
    is_verified,
    judge,
    recommended,
    service_records,
)
from postroad_ingress_http.domains.intervals import next_check
from postroad_ingress_http.domains.rotation import PUBLISHED_SECONDS
from postroad_ingress_http.domains.senderdomains import SenderDomains
from postroad_ingress_http.domains.watch import DomainWatch
from postroad_ingress_http.domains.zonefile import write_zone
from postroad_ingress_http.http.errors import ApiError
from postroad_testing.nameserver import NameServer, running_name_server

RULES = DnsRules("mail.postroad.test", "bounce.postroad.test", "links.postroad.test")
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


@pytest.mark.parametrize(
    ("key", "found", "status"),
    [
        ("return-path", ["mail.postroad.test"], "ok"),
        ("return-path", ["mx.other.example"], "different"),
        ("return-path", [], "missing"),
        ("return-path spf", ["v=spf1 include:_senderspf.mail.postroad.test -all"], "ok"),
        ("return-path spf", ["v=spf1 mx -all"], "different"),
        ("tracking", ["links.postroad.test"], "ok"),
        ("tracking", [], "missing"),
        ("tracking", None, "unknown"),
    ],
)
def test_hosts_are_judged(key: str, found: list[str] | None, status: str):
    assert judge(RECORDS[key], found, RULES) == status


def test_records_are_all_that_a_domain_needs_with_relative_names():
    kinds = {(record.type, record.host) for record in RECORDS.values()}
    assert kinds == {
        ("TXT", "_postroad"),
        ("TXT", "@"),
        *(("TXT", f"{key.selector}._domainkey") for key in KEYS),
        ("TXT", "_dmarc"),
        ("MX", "bounces"),
        ("TXT", "bounces"),
        ("CNAME", "clicks"),
    }
    assert "rua=mailto:postmaster@shop.example" in RECORDS["dmarc"].value
    assert not RECORDS["tracking"].needed
    own = replace(DOMAIN, bounce_host="b.shop.example", dmarc_reports="dmarc@reports.example")
    changed = {record.key: record for record in recommended(own, RULES)}
    assert changed["return-path"].name == "b.shop.example"
    assert changed["dmarc"].value.endswith("rua=mailto:dmarc@reports.example")


@pytest.mark.parametrize("host", ["127.0.0.1", "2001:db8::1", "localhost", "clicks.localhost"])
def test_tracker_without_a_name_is_no_target_of_a_record(host: str):
    kinds = {record.type for record in recommended(DOMAIN, replace(RULES, tracking_host=host))}
    assert kinds == {"TXT", "MX"}


def test_zone_file_is_read_back_as_the_same_records():
    records = list(RECORDS.values())
    zone = dns.zone.from_text(
        write_zone("shop.example", records), relativize=False, check_origin=False
    )
    for record in records:
        (found,) = [
            data
            for data in zone.get_rdataset(f"{record.name}.", record.type) or ()
            if _value(data) == record.value
        ]
        if record.type == "MX":
            assert found.preference == record.priority


def _value(data: Any) -> str:
    if hasattr(data, "strings"):
        return b"".join(data.strings).decode()
    host = getattr(data, "exchange", None) or data.target
    return str(host.to_text(omit_final_dot=True))


def test_service_says_what_its_operator_publishes():
    spf, mx, bounce = service_records(replace(RULES, senders="ip4:192.0.2.1"))
    assert (spf.name, spf.value) == (
        "_senderspf.mail.postroad.test", "v=spf1 ip4:192.0.2.1 -all",
    )  # fmt: skip
    assert (mx.name, mx.type, mx.value) == ("bounce.postroad.test", "MX", "mail.postroad.test")
    assert bounce.name == mx.name
    assert judge(spf, ["v=spf1 ip4:192.0.2.7 -all"], RULES) == "ok"  # theirs to know
    assert judge(spf, [], RULES) == "missing"
    assert service_records(RULES)[0].value == "v=spf1 a:mail.postroad.test -all"


def states(keys: Iterable[DkimKey]) -> dict[str, str]:
    return {key.selector: key.state for key in keys}


def test_key_signs_once_it_is_seen_and_the_old_one_until_then():
    old = rotation.renew((), KEYS, 0.0, active=True)
    fresh = new_keys(1_790_000_100.0, frozenset(key.selector for key in old))
    both = rotation.renew(old, fresh, 100.0, active=False)
    rsa, ed25519_key = (key.selector for key in fresh)
    assert [states(both)[key.selector] for key in (*old, *fresh)] == ["active"] * 2 + [
        "pending"
    ] * 2
    # One record is there, the other is not: each algorithm goes its own way.
    half = rotation.advance(both, {f"dkim {rsa}": "ok", f"dkim {ed25519_key}": "missing"}, 200.0)
    assert [states(half)[key.selector] for key in (*old, *fresh)] == [
        "retired", "active", "active", "pending",
    ]  # fmt: skip
    seen = rotation.advance(half, {f"dkim {ed25519_key}": "ok"}, 300.0)
    assert [key.state for key in seen] == ["retired", "retired", "active", "active"]
    retires = {key.retires for key in seen if key.state == "retired"}
    assert retires == {200.0 + PUBLISHED_SECONDS, 300.0 + PUBLISHED_SECONDS}
    last = rotation.advance(seen, {}, 300.0 + PUBLISHED_SECONDS)
    assert {key.selector for key in last} == {rsa, ed25519_key}


def test_key_that_vanished_from_dns_goes_on_signing():
    active = rotation.renew((), KEYS, 0.0, active=True)
    statuses = {f"dkim {key.selector}": "missing" for key in active}
    assert rotation.advance(active, statuses, 10.0) == active


def test_new_keys_replace_those_that_nobody_published():
    pending = rotation.renew((), KEYS, 0.0, active=False)
    fresh = new_keys(1_790_000_100.0, frozenset(key.selector for key in pending))
    assert {key.selector for key in rotation.renew(pending, fresh, 1.0, active=False)} == {
        key.selector for key in fresh
    }


def test_key_without_a_state_is_one_that_signs_already():
    assert DkimKey("s", "rsa", "p", 0.0).state == "active"


@pytest.mark.parametrize(
    ("verified", "age", "seconds"),
    [(False, 10, 300), (False, 2 * 86_400, 3600), (False, 30 * 86_400, 86_400), (True, 10, 21_600)],
)
def test_domain_is_looked_at_often_while_something_is_waited_for(
    verified: bool,  # noqa: FBT001 - a row of the table
    age: float,
    seconds: float,
):
    keys = [replace(key, state="active") for key in KEYS]
    assert next_check(DOMAIN, keys, age, verified=verified) == seconds
    waiting = [replace(keys[0], state="pending", created=age - 10)]
    assert next_check(DOMAIN, waiting, age, verified=verified) == 300


@dataclass
class Place:
    """Domains in a database of their own, with a name server that is theirs."""

    database: Database
    server: NameServer
    domains: SenderDomains
    watch: DomainWatch
    now: list[float]

    def publish(self, domain: SenderDomain, *keys: str) -> None:
        """Publish the records of a domain that have these keys, all if none is named."""
        for checked in self.domains.records(domain):
            record = checked.record
            if keys and record.key not in keys:
                continue
            texts = [f'"{record.value[at : at + 200]}"' for at in range(0, len(record.value), 200)]
            data = {
                "TXT": " ".join(texts),
                "MX": f"{record.priority} {record.value}.",
                "CNAME": f"CNAME {record.value}.",
            }[record.type]
            self.server.zone[record.name, record.type] = [data]


@pytest.fixture
async def place(own_mongodb: str) -> AsyncIterator[Place]:
    database = Database(own_mongodb)
    await database.prepare()
    now = [1_790_000_000.0]
    async with running_name_server() as server:
        domains = SenderDomains(database.domains, DnsChecker(server.address), RULES, lambda: now[0])
        watch = DomainWatch(database.domains, domains, lambda: now[0])
        yield Place(database, server, domains, watch, now)
    await database.close()


async def test_domain_becomes_verified_and_signs_by_itself_once_its_records_are_there(place: Place):
    made = await place.domains.add("shop", "shop.example")
    assert {key.state for key in made.keys} == {"pending"}
    assert await place.watch.check_one()
    found = await place.domains.find("shop", "shop.example")
    assert not found.verified
    assert found.checked is not None
    assert not await place.watch.check_one()  # it is due later
    place.publish(made)
    place.now[0] += 400
    assert await place.watch.check_one()
    found = await place.domains.find("shop", "shop.example")
    assert found.verified
    assert {key.state for key in found.keys} == {"active"}
    assert set(found.checks.values()) == {"ok"}
    assert found.uses_return_path


async def test_domain_is_verified_in_one_account_only(place: Place):
    first = await place.domains.add("first", "shop.example")
    second = await place.domains.add("second", "shop.example")
    place.publish(first)
    await place.domains.verify("first", "shop.example")
    ours = [f"dkim {key.selector}" for key in second.keys]
    place.server.zone["_postroad.shop.example", "TXT"].append(  # type: ignore[union-attr]
        f'"postroad-verification={second.verification}"'
    )
    place.publish(second, *ours)
    with pytest.raises(ApiError) as caught:
        await place.domains.verify("second", "shop.example")
    assert (caught.value.status, caught.value.code) == (409, "domain_taken")
    assert not (await place.domains.find("second", "shop.example")).verified
    # The domain changes hands: the records of the first account are gone.
    place.publish(second)
    for key in first.keys:
        del place.server.zone[f"{key.selector}._domainkey.shop.example", "TXT"]
    await place.domains.verify("second", "shop.example")
    assert (await place.domains.find("second", "shop.example")).verified
    assert not (await place.domains.find("first", "shop.example")).verified


async def test_silent_name_server_takes_no_domain_from_anybody(place: Place):
    first = await place.domains.add("first", "shop.example")
    second = await place.domains.add("second", "shop.example")
    place.publish(first, "ownership")
    await place.domains.verify("first", "shop.example")
    place.publish(second, *(f"dkim {key.selector}" for key in second.keys))
    place.server.zone["_postroad.shop.example", "TXT"] = "SERVFAIL"
    with pytest.raises(ApiError) as caught:
        await place.domains.verify("second", "shop.example")
    assert caught.value.code == "domain_taken"
    assert (await place.domains.find("first", "shop.example")).verified


async def test_two_accounts_that_verify_at_once_do_not_both_get_the_domain(place: Place):
    made = [await place.domains.add(name, "shop.example") for name in ("first", "second")]
    place.server.zone["_postroad.shop.example", "TXT"] = [
        f'"postroad-verification={domain.verification}"' for domain in made
    ]
    answers = await asyncio.gather(
        *(place.domains.verify(domain.account, "shop.example") for domain in made),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, ApiError) for answer in answers) == 1
    found = [await place.domains.find(domain.account, "shop.example") for domain in made]
    assert sum(domain.verified for domain in found) == 1


async def test_domain_that_the_operator_vouches_for_needs_no_dns(place: Place):
    made = await place.domains.add("shop", "shop.example", trusted=True)
    assert made.verified
    assert {key.state for key in made.keys} == {"active"}
    assert await place.database.domains.verified("shop") == {"shop.example"}
    await place.domains.verify("shop", "shop.example")
    assert (await place.domains.find("shop", "shop.example")).verified
    with pytest.raises(ApiError) as caught:
        await place.domains.add("other", "shop.example", trusted=True)
    assert caught.value.code == "domain_taken"


async def test_keys_made_while_dns_is_asked_are_not_lost(place: Place):
    made = await place.domains.add("shop", "shop.example")
    place.publish(made)
    await place.domains.verify("shop", "shop.example")
    checking = asyncio.create_task(place.domains.verify("shop", "shop.example"))
    await asyncio.sleep(0)
    replaced = await place.domains.replace_keys("shop", "shop.example")
    await checking
    found = await place.domains.find("shop", "shop.example")
    assert {key.selector for key in found.keys} == {key.selector for key in replaced.keys}
