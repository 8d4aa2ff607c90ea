"""The handler on a real broker and a real database: what arrives where; nothing gets lost."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from yarl import URL

from postroad_common.broker import topology
from postroad_common.mail.identifiers import id_time
from postroad_common.schemas.events import EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Submission
from postroad_common.store.archive import NotKept
from postroad_common.store.database import Database
from postroad_common.store.domains import RETURN_PATH, DkimKey
from postroad_common.store.suppressions import Suppression
from postroad_testing.waiting import until

if TYPE_CHECKING:
    from conftest import Road  # the service's own, beside this file

BASE = "https://track.example.com"
PLAIN = Features()
NOW = 1_780_000_000.0
Make = Callable[..., Submission]


async def test_the_archive_gets_what_came_in_and_what_went_out(road: "Road", make_submission: Make):
    entry = Suppression("main", "x@one.test", "no", "manual", NOW, None)
    await road.database.suppressions.add([entry])
    stored = await road.database.bodies.put(road.raw + b"x" * 5000, NOW + 60)
    plain = make_submission("a@one.test", "b@two.test", "x@one.test")
    large = make_submission("c@one.test", body=stored)
    none = make_submission("d@one.test", keep_content=False)
    for submission in (plain, large, none):
        await road.submit(submission)
    sent = {message.id: (message, raw) for message, raw in await road.outbound(4)}
    archive = road.database.archive

    async def is_archived() -> bool:
        return None not in [await archive.expiry("main", one.id) for one in (plain, large)]

    await until(is_archived)
    assert await archive.submitted("main", plain.id, NOW) == road.raw
    assert await archive.submitted("main", large.id, NOW) == road.raw + b"x" * 5000
    for recipient in plain.recipients[:2]:
        found = await archive.sent("main", plain.id, recipient.id, NOW)
        assert found == sent[recipient.id][1]
    message, head = sent[large.recipients[0].id]
    assert message.body is not None
    body = await road.database.bodies.get(message.body)
    for patch in reversed(message.patches):
        body = body[: patch.at] + patch.data + body[patch.at :]
    assert await archive.sent("main", large.id, message.id, NOW) == head + body[message.skip :]
    for missing in (plain.recipients[2].id, none.recipients[0].id):
        with pytest.raises(NotKept):
            await archive.sent("main", plain.id, missing, NOW)
    assert await road.database.bodies.purge(NOW + 3600) == 0, "stored bodies live as long"


async def test_of_a_test_all_is_done_but_nothing_is_sent_and_nobody_is_told(
    road: "Road", make_submission: Make
):
    await road.database.suppressions.add(
        [Suppression("main", "gone@one.test", "no", "hard", NOW, None)]
    )
    test = make_submission("a@one.test", "b@two.test", "gone@one.test", test=True)
    large = make_submission("c@one.test", test=True)
    await road.submit(test)
    await road.submit(large, road.raw + b"x" * 20_000)
    real = make_submission("d@one.test")
    await road.submit(real)
    ((sent, _),) = await road.outbound(1)
    assert sent.id == real.recipients[0].id
    told = await road.told(2 * 2 + 1 + 2 + 1)
    of = {
        one.id: [e.event for e in sorted(told, key=lambda e: e.time) if e.message == one.id]
        for one in (*test.recipients, *large.recipients)
    }
    ends = [EventName.TRANSFORMED, EventName.TESTED]
    assert list(of.values()) == [ends, ends, [EventName.SUPPRESSED], ends]
    assert all(event.facts["test"] for event in told if event.message in of)
    assert await road.depth(topology.FAILURES.name) == 0
    archive, (first, *_) = road.database.archive, test.recipients

    async def is_archived() -> bool:
        return await archive.expiry("main", test.id) is not None

    await until(is_archived)
    assert b"<p" in await archive.sent("main", test.id, first.id, NOW)


async def test_everything_on_gives_each_recipient_its_own_message(
    road: "Road", make_submission: Make
):
    submission = make_submission("a@one.test", "b@one.test", "c@two.test", tags=("x",))
    await road.submit(submission)
    sent = await road.outbound(3)
    assert [m.id for m, _ in sent] == sorted(r.id for r in submission.recipients)
    seen = set()
    for message, raw in sent:
        assert message.mail_from == road.bounces.address(message.id)
        assert message.envelope == submission.envelope
        assert message.bouncetracking
        assert message.size == len(raw)
        assert b"secret@d.test" not in raw
        assert b'<p style="color: red">' in raw
        path = re.search(re.escape(BASE.encode()) + rb"(/c[\w/-]+)", raw)
        assert path is not None
        token = road.links.read_path(path[1].decode())
        assert token is not None
        assert (token.message_id, token.target) == (message.id, b"http://a.test/x")
        seen.add(path[1])
    assert len(seen) == 3
    told = await road.told(3)
    assert {event.event for event in told} == {EventName.TRANSFORMED}
    assert {event.facts["recipient"] for event in told} == {
        "a@one.test",
        "b@one.test",
        "c@two.test",
    }
    assert told[0].facts["changes"]["links"] == {"tracked": 1}
    assert told[0].facts["changes"]["css"] == "inlined"
    assert await road.depth(topology.ACCEPTED.name) == 0


async def test_everything_off_gives_one_message_per_destination(
    road: "Road", make_submission: Make
):
    addresses = [f"r{i}@one.test" for i in range(120)] + ["x@two.test"]
    await road.submit(make_submission(*addresses, features=PLAIN))
    sent = await road.outbound(3)
    assert sorted(len(m.recipients) for m, _ in sent) == [1, 20, 100]
    assert len({raw for _, raw in sent}) == 1
    body = sent[0][1].partition(b"\r\n\r\n")[2]
    assert body == road.raw.partition(b"\r\n\r\n")[2]
    assert {m.mail_from for m, _ in sent} == {"sender@example.com"}
    assert len(await road.told(121)) == 121


async def test_only_bounce_tracking_shares_the_content_but_not_the_envelope(
    road: "Road", make_submission: Make
):
    await road.submit(
        make_submission("a@d.test", "b@d.test", features=Features(bouncetracking=True))
    )
    (first, raw), (second, same) = await road.outbound(2)
    assert raw == same
    assert first.mail_from != second.mail_from


async def test_the_null_sender_keeps_its_null_envelope(road: "Road", make_submission: Make):
    await road.submit(make_submission(envelope=""))
    ((message, _),) = await road.outbound(1)
    assert (message.mail_from, message.bouncetracking) == ("", False)


async def test_a_domain_with_a_key_signs_also_for_its_subdomains(
    road: "Road", database: Database, make_submission: Make
):
    private = generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    keys = [
        DkimKey("s1", "rsa", "", 0.0, pem),
        DkimKey("s2", "rsa", "", 0.0, "broken"),
        DkimKey("s3", "rsa", "", 0.0, pem, state="pending"),
        DkimKey("s4", "rsa", "", 0.0, pem, state="retired"),
    ]
    await database.domains.create("main", "example.com", "v", keys)
    await road.submit(make_submission())
    ((_, raw),) = await road.outbound(1)
    assert raw.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com;")
    assert raw.count(b"DKIM-Signature") == 1
    (event,) = await road.told(1)
    assert event.facts["changes"]["dkim"] == ["s1._domainkey.example.com"]


async def test_a_message_that_cannot_be_changed_is_delivered_as_it_came(
    road: "Road", make_submission: Make
):
    raw = b"Content-Type: multipart/mixed\r\n\r\nbroken <a href='http://a.test'>\r\n"
    await road.submit(make_submission(), raw)
    ((_, out),) = await road.outbound(1)
    assert out.endswith(raw.partition(b"\r\n\r\n")[2])
    (event,) = await road.told(1)
    assert "boundary" in event.facts["changes"]["mime"][0]


async def test_what_is_no_submission_is_set_aside_and_the_rest_goes_on(
    road: "Road", make_submission: Make
):
    await road.publisher.publish("", topology.ACCEPTED.name, b"nonsense")
    await road.submit(make_submission())
    await road.outbound(1)
    dead = topology.ACCEPTED.dead
    assert dead is not None
    assert await road.taken([dead], 1) == [b"nonsense"]


async def test_delayed_mail_carries_the_time_before_which_it_must_not_leave(
    road: "Road", make_submission: Make
):
    await road.submit(make_submission(send_at=2e9))
    ((message, _),) = await road.outbound(1)
    assert (message.not_before, message.send_at, message.began) == (2e9, 2e9, 2e9)


async def test_a_verified_domain_tracks_by_way_of_its_own_host(road: "Road", make_submission: Make):
    domains = road.database.domains
    made = await domains.create("main", "example.com", "proof", [])
    assert made is not None
    await domains.set_hosts("main", "example.com", {"tracking_host": "links.example.com"})
    await domains.create("other", "news.example.com", "proof", [])
    await domains.set_hosts("other", "news.example.com", {"tracking_host": "no.example.com"})
    await domains.set_checks(made, {}, verified=True, keys=(), due=0.0)
    features = Features(clicktracking=True)
    await road.submit(make_submission(features=features))
    await road.submit(make_submission(features=features, account="other"))
    found = {message.account: body for message, body in await road.outbound(2)}
    for account, base in (("main", b"https://links.example.com/"), ("other", BASE.encode())):
        (url,) = re.findall(rb'href="(https?://[^"]+)"', found[account])
        assert url.startswith(base)
        token = road.links.read_path(URL(url.decode()).path)
        assert token is not None
        assert token.target == b"http://a.test/x"


async def test_bounces_come_back_to_the_domains_own_host_once_its_record_was_seen(
    road: "Road", make_submission: Make
):
    domains = road.database.domains
    for account, status in (("main", "ok"), ("other", "missing")):
        made = await domains.create(account, f"{account}.example.com", "proof", [])
        assert made is not None
        checks = {RETURN_PATH: status}
        await domains.set_checks(made, checks, verified=True, keys=(), due=0.0)
        await road.submit(
            make_submission(account=account, features=Features(bouncetracking=True)),
            f"From: shop@{account}.example.com\r\n\r\nhello\r\n".encode(),
        )
    found = {message.account: message for message, _ in await road.outbound(2)}
    assert found["main"].mail_from.endswith("@bounces.main.example.com")
    assert found["other"].mail_from.endswith(f"@{road.bounces.domain}")
    for message in found.values():
        assert road.bounces.verify(message.mail_from, id_time(message.id)).message_id == message.id
