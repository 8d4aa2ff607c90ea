"""What is published for what was handed in, and what hostile crowds leave behind."""

import asyncio
import contextlib
import gc
import socket
import threading
import time
from typing import Any

import pytest

from postroad_common.broker import topology
from postroad_common.mail.identifiers import is_id, new_id
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.events import EventBatch
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import decode
from postroad_common.schemas.returns import Return
from postroad_common.schemas.submission import Submission
from postroad_common.store.accounts import SYSTEM_ACCOUNT
from postroad_common.store.database import Database
from postroad_ingress_smtp.protocol import SmtpProtocol
from postroad_smtp.server.stream import SmtpStream


def hand_in(
    client: Any, body: bytes, mail: str = "", rcpt: tuple[str, ...] = ("bob@there.example>",)
):
    client.ask(f"MAIL FROM:<ann@shop.example> {mail}".strip(), "250")
    for each in rcpt:
        client.ask(f"RCPT TO:<{each}", "250")
    client.ask("DATA", "354")
    client.send(body + b".\r\n")
    return client.reply()


def events_of(broker: Any, submission: Any) -> list[Any]:
    """Return the events of a submission, whose batch may come behind one of earlier mail."""
    names = {recipient.id for recipient in submission.recipients}
    while True:
        batch, _ = decode(EventBatch, broker.take(1, topology.EVENTS.name)[0])
        if ours := [event for event in batch.events if event.message in names]:
            return ours


def test_dsn_parameters_are_kept_per_recipient_and_in_their_case(
    ingress: Any, login: Any, broker: Any
):
    client = ingress.secure_client(login)
    hand_in(
        client,
        b"Subject: x\r\n\r\n",
        "RET=HDRS ENVID=Order+2B47-aB",
        (
            "bob@there.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2Bx@There.example",
            "eve@there.example> notify=never",
            "joe@there.example>",
        ),
    )
    submission, _ = broker.submission()
    assert (submission.ret, submission.envid) == ("hdrs", "Order+47-aB")
    bob, eve, joe = submission.recipients
    assert (bob.notify, bob.orcpt) == (("failure", "success"), "rfc822;Bob+x@There.example")
    assert (eve.notify, eve.orcpt) == (("never",), None)
    assert (joe.notify, joe.orcpt) == ((), None)


def test_each_recipient_has_the_id_that_the_reply_names(ingress: Any, login: Any, broker: Any):
    client = ingress.secure_client(login)
    lines = hand_in(
        client, b"Subject: x\r\n\r\n", rcpt=("bob@there.example>", "eve@there.example>")
    )
    submission, _ = broker.submission()
    assert all(is_id(each.id) for each in submission.recipients)
    assert lines == [
        *(f"250-2.0.0 {each.id} {each.address}" for each in submission.recipients),
        f"250 2.0.0 Ok, queued as {submission.recipients[0].id}",
    ]
    assert [(event.event, event.message) for event in events_of(broker, submission)] == [
        ("accepted", each.id) for each in submission.recipients
    ]


def test_a_repaired_line_end_stands_in_the_timeline_and_the_message_has_only_crlf(
    ingress: Any, login: Any, broker: Any
):
    client = ingress.secure_client(login)
    hand_in(client, b"Subject: lone\nX-Postroad-Tags: a\n\nHello\n..dot\n.x\r\n")
    submission, body = broker.submission()
    assert body == b"Subject: lone\r\n\r\nHello\r\n.dot\r\n.x\r\n"
    assert (submission.subject, submission.tags) == ("lone", ("a",))
    assert submission.line_ends_repaired == 5
    (event,) = events_of(broker, submission)
    assert event.facts["line_ends_repaired"] == 5


def test_a_recipient_named_twice_is_one_with_what_both_ask_for(
    ingress: Any, login: Any, broker: Any
):
    client = ingress.secure_client(login)
    twice = ("bob@there.example> NOTIFY=SUCCESS", "bob@There.Example> ORCPT=rfc822;b@x.example")
    lines = hand_in(client, b"Subject: x\r\n\r\n", rcpt=twice)
    submission, _ = broker.submission()
    (bob,) = submission.recipients
    assert (bob.notify, bob.orcpt) == (("failure", "success"), "rfc822;b@x.example")
    assert lines == [f"250 2.0.0 Ok, queued as {bob.id}"]


def test_the_reply_for_many_recipients_stays_within_what_clients_read(
    ingress: Any, login: Any, broker: Any
):
    client = ingress.secure_client(login)
    for number, length in ((44, 10), (45, 10), (30, 200)):
        rcpt = tuple(f"{'x' * length}{each}@there.example>" for each in range(number))
        lines = hand_in(client, b"Subject: x\r\n\r\n", rcpt=rcpt)
        submission, _ = broker.submission()
        if (number, length) == (44, 10):
            assert len(lines) == 45
            assert sum(len(line) + 2 for line in lines) <= 3500
        else:
            assert lines == [f"250 2.0.0 Ok, queued as {submission.id} for {number} recipients"]


def test_a_return_is_made_readable_whatever_it_looks_like(
    ingress: Any, broker: Any, bounce_addresses: BounceAddresses
):
    client = ingress.client("mx")
    client.expect("220 ")
    client.ask("EHLO mx.there.example", "250")
    client.ask("MAIL FROM:<not a mailbox> BODY=7BIT", "250")
    address = bounce_addresses.address(new_id())
    client.ask(f"RCPT TO:<{address}>", "250")
    client.ask(f"RCPT TO:<{address}>", "250")
    client.ask("DATA", "354")
    client.send(b"\r\n\nSubject: lost\n\nold\rmac\0\xfc\n..\n.\n\r\n.\r\n")
    client.expect("250")
    returned, body = broker.returned()
    assert returned.mail_from == "not a mailbox"
    assert returned.size == len(body)
    assert body == b"Subject: lost\r\n\r\nold\r\nmac \xfc\r\n.\r\n.\r\n\r\n"
    assert broker.count(topology.RETURNS.name) == 0


def test_control_headers_are_taken_out_whatever_stands_around_them(
    ingress: Any, login: Any, broker: Any
):
    client = ingress.secure_client(login)
    for before in (
        b"\xef\xbb\xbf",
        b"From ann Mon Jan  1 00:00:00 2026\r\n",
        b">From ann\r\n",
        b"To: bob@there.example\r\nno header at all\r\n",
    ):
        hand_in(client, before + b"X-Postroad-Tags: a\r\nBcc: eve@there.example\r\n\r\nHello\r\n")
        submission, body = broker.submission()
        assert submission.tags == ("a",)
        head, _, text = body.partition(b"\r\n\r\n")
        assert text == b"Hello\r\n"
        assert b"Postroad" not in head


def test_headers_win_over_the_login_both_ways_and_are_stripped(
    ingress: Any, new_login: Any, broker: Any
):
    login = new_login(features=Features(clicktracking=True))
    client = ingress.secure_client(login)
    hand_in(
        client,
        b"Subject: x\r\nX-SMTPeter-TrackClicks: OFF\r\nX-Postroad-InlinizeCSS: yes\r\n"
        b"x-smtpeter-tags: a, b\r\nX-SMTPeter-Images: hosted\r\nx-smtpeter-unknown: 1\r\n"
        b"To: bob@there.example\r\n\r\nx-smtpeter-body: stays\r\n",
    )
    submission, body = broker.submission()
    assert submission.features.clicktracking is False
    assert submission.features.inlinecss is True
    assert submission.tags == ("a", "b")
    assert submission.images_hosted
    assert body == (b"Subject: x\r\nTo: bob@there.example\r\n\r\nx-smtpeter-body: stays\r\n")


def test_content_is_kept_as_the_login_says_and_the_header_overrules_it(
    ingress: Any, new_login: Any, broker: Any
):
    for kept in (True, False):
        login = new_login(keep_content=kept)
        for header, expected in ((b"", kept), (b"X-Postroad-Keep-Content: yes\r\n", True)):
            hand_in(ingress.secure_client(login), b"Subject: x\r\n" + header + b"\r\nHello\r\n")
            submission, _ = broker.submission()
            assert submission.keep_content is expected


def test_mail_is_a_test_if_its_login_or_its_header_says_so(
    ingress: Any, new_login: Any, broker: Any
):
    for only_tests in (True, False):
        login = new_login(test=only_tests)
        for header, expected in ((b"no", only_tests), (b"true", True)):
            mail = b"Subject: x\r\nX-Postroad-Test: " + header + b"\r\n\r\nHello\r\n"
            hand_in(ingress.secure_client(login), mail)
            submission, body = broker.submission()
            assert submission.test is expected
            assert b"Postroad-Test" not in body


def test_a_large_body_is_stored_and_travels_as_a_reference(
    ingress: Any, login: Any, broker: Any, servers: Any
):
    broker.purge()
    client = ingress.secure_client(login)
    large = b"Subject: x\r\n\r\n" + b"0123456789abcdef" * 60 + b"\r\n"
    large += (b"z" * 900 + b"\r\n") * 5000
    assert hand_in(client, large)[-1].startswith("250 ")
    submission, inline = broker.submission()
    assert inline == b""
    assert submission.body is not None
    assert submission.size == submission.body.size == len(large)
    (told,) = events_of(broker, submission)
    assert told.facts["body"] == submission.body.model_dump()

    async def stored() -> bytes:
        database = Database(servers.mongodb_uri)
        try:
            return await database.bodies.get(submission.body)
        finally:
            await database.close()

    assert asyncio.run(stored()) == large


def test_a_return_carries_the_message_it_belongs_to(
    ingress: Any, broker: Any, bounce_addresses: BounceAddresses
):
    message_id = new_id()
    address = bounce_addresses.address(message_id)
    client = ingress.client("mx")
    client.expect("220")
    client.ask("EHLO mx.there.example", "250")
    client.ask("MAIL FROM:<>", "250")
    client.ask(f"RCPT TO:<{address.upper()}>", "250")
    client.ask("DATA", "354")
    client.send(b"Subject: failed\r\n\r\nno such user\r\n.\r\n")
    client.expect("250 2.0.0 Ok, queued as ")
    returned, body = broker.returned()
    assert isinstance(returned, Return)
    assert returned.message_id == message_id
    assert returned.mail_from == ""
    assert returned.client is not None
    assert returned.client.helo == "mx.there.example"
    assert body == b"Subject: failed\r\n\r\nno such user\r\n"


def test_mail_for_the_operator_goes_on_as_it_came_and_nothing_can_come_back(
    ingress_with: Any, broker: Any
):
    client = ingress_with(POSTMASTER="ops@elsewhere.example").client("mx")
    client.expect("220")
    client.ask("EHLO mx.there.example", "250")
    client.ask("MAIL FROM:<ann@there.example>", "250")
    client.ask("RCPT TO:<postmaster>", "250")
    client.ask("RCPT TO:<Abuse@bounce.postroad.test>", "250")
    client.ask("DATA", "354")
    mail = b"Subject: a question\r\nX-Postroad-Trackclicks: maybe\r\n\r\ncaf\xc3\xa9\r\n"
    client.send(mail + b".\r\n")
    client.expect("250 2.0.0 Ok, queued as ")
    submission, body = broker.submission()
    assert [each.address for each in submission.recipients] == ["ops@elsewhere.example"]
    assert (submission.account, submission.envelope) == (SYSTEM_ACCOUNT, "")
    assert submission.features == Features(**dict.fromkeys(Features.model_fields, False))
    assert (submission.subject, submission.eightbit) == ("a question", True)
    assert submission.client.helo == "mx.there.example"
    assert body == mail


@pytest.mark.parametrize("number", [1, 2])
def test_a_large_return_says_whether_others_share_its_stored_body(
    ingress: Any, broker: Any, bounce_addresses: BounceAddresses, number: int
):
    client = ingress.client("mx")
    client.expect("220")
    client.ask("EHLO mx.there.example", "250")
    client.ask("MAIL FROM:<>", "250")
    for _ in range(number):
        client.ask(f"RCPT TO:<{bounce_addresses.address(new_id())}>", "250")
    client.ask("DATA", "354")
    client.send(b"Subject: failed\r\n\r\n" + b"QUJD\r\n" * 50_000 + b".\r\n")
    client.expect("250 2.0.0 Ok, queued as ")
    returned = [broker.returned()[0] for _ in range(number)]
    assert len({each.body.file for each in returned if each.body}) == 1
    assert [each.shared for each in returned] == [number > 1] * number


def test_a_complaint_says_to_whose_address_it_came(
    ingress: Any, broker: Any, feedback_addresses: Any
):
    client = ingress.client("mx")
    client.expect("220")
    client.ask("EHLO fbl.provider.example", "250")
    client.ask("MAIL FROM:<feedback@provider.example>", "250")
    for address in (
        feedback_addresses.open_address(),
        feedback_addresses.secret_address(),
        feedback_addresses.secret_address("Größe & Co").upper(),
    ):
        client.ask(f"RCPT TO:<{address}>", "250")
    client.ask("DATA", "354")
    client.send(b"Subject: complaint\r\n\r\ntext\r\n.\r\n")
    client.expect("250 2.0.0 Ok, queued as ")
    returned = [broker.returned()[0] for _ in range(3)]
    assert [(each.feedback, each.account, each.message_id) for each in returned] == [
        ("open", "", ""),
        ("secret", "", ""),
        ("secret", "Größe & Co", ""),
    ]


def test_a_slow_session_does_not_keep_others_waiting(ingress: Any, login: Any, broker: Any):
    slow = ingress.secure_client(login)
    slow.ask("MAIL FROM:<ann@shop.example>", "250")
    slow.ask("RCPT TO:<bob@there.example>", "250")
    slow.ask("DATA", "354")
    slow.send(b"Subject: slow\r\n")
    quick = ingress.secure_client(login)
    for _ in range(20):
        assert hand_in(quick, b"Subject: quick\r\n\r\n")[-1].startswith("250 ")
    slow.send(b"\r\n.\r\n")
    slow.expect("250 ")
    subjects = [decode(Submission, frame)[0].subject for frame in broker.take(21)]
    assert subjects == ["quick"] * 20 + ["slow"]


def test_a_client_that_leaves_within_the_data_leaves_nothing(ingress: Any, login: Any, broker: Any):
    client = ingress.secure_client(login)
    client.ask("MAIL FROM:<ann@shop.example>", "250")
    client.ask("RCPT TO:<bob@there.example>", "250")
    client.ask("DATA", "354")
    client.send(b"Subject: half\r\n\r\n" + b"x" * 900 + b"\r\n")
    client.close()
    hand_in(ingress.secure_client(login), b"Subject: whole\r\n\r\n")
    assert broker.submission()[0].subject == "whole"
    assert broker.count() == 0


HOSTILE = (
    b"",
    b"EHLO x\r\n" * 50,
    b"A" * 40_000,
    b"EHLO x\r\nSTARTTLS\r\n" + b"\x16\x03\x01" + b"\xff" * 500,
    b"BDAT 99999999\r\n" + b"x" * 5000,
    b"\x00\xff\r\n" * 30,
    b"MAIL FROM:<" + b'"' * 3000 + b"\r\n",
)


HOSTILE_SESSIONS = 10_000
ALLOWANCE = 4 * 1024 * 1024  # octets of noise, by which idle processes differ, too


def test_nothing_of_a_hostile_session_is_kept(ingress_with: Any):
    server = ingress_with({"handshake_seconds": 1})

    def kept() -> int:
        gc.collect()
        return sum(isinstance(each, SmtpProtocol | SmtpStream) for each in gc.get_objects())

    before = kept()
    for listener in ("submission", "mx", "submissions"):
        for octets in HOSTILE:
            for _ in range(5):
                with server.client(listener) as client, contextlib.suppress(OSError):
                    client.send(octets)
    pause = threading.Event()
    deadline = time.monotonic() + 90
    while kept() > before:
        assert time.monotonic() < deadline
        pause.wait(0.1)


def test_thousands_of_hostile_sessions_leave_memory_where_it_was(start_ingress: Any):
    server = start_ingress(tidy_seconds=2)
    ports = [server.ports[name] for name in ("submission", "mx", "submissions")]

    def attack(count: int) -> None:
        """200 at a time; half of them stay open until the next wave."""
        kept: list[socket.socket] = []
        for number in range(count):
            with contextlib.suppress(OSError):
                client = socket.create_connection(("127.0.0.1", ports[number % 3]), timeout=90)
                client.setblocking(False)  # noqa: FBT003 - as the standard library has it
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    client.send(HOSTILE[number % len(HOSTILE)])
                kept.append(client)
            if len(kept) >= 200:
                for client in kept[::2]:
                    client.close()
                kept = kept[1::2][-100:]
        for client in kept:
            client.close()

    def settle() -> None:
        pause = threading.Event()
        while any(
            server.metric(f'postroad_ingress_smtp_sessions_open{{listener="{name}"}}')
            for name in ("submission", "mx", "submissions")
        ):
            pause.wait(0.1)

    attack(2000)
    settle()
    before = server.process.resident_octets()
    attack(HOSTILE_SESSIONS)
    settle()
    pause = threading.Event()
    deadline = time.monotonic() + 90
    while (grown := server.process.resident_octets() - before) > ALLOWANCE:
        assert time.monotonic() < deadline, f"{grown} octets more"
        pause.wait(0.25)
    assert server.metric("postroad_ingress_smtp_memory_bytes") == 0
    with server.client("mx") as client:
        client.expect("220")
