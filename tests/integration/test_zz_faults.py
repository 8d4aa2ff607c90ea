"""Faults: processes and servers killed under load, servers that hang; and what holds.

Last in the alphabet, because what runs before it should meet an undisturbed stack.
"""

import contextlib
import os
import signal
import smtplib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage
from typing import Any

import httpx
import pytest

from postroad_common.mail.identifiers import new_id
from postroad_testing.pace import at_most, timed

SENDERS = 3
UNDER_LOAD = 60
"""Mails that are accepted at full speed before a process is killed, and after it is back."""
SLOWLY = 0.1
"""Seconds between two mails of a sender while processes are starting again."""
IN_FLIGHT = 20
"""Transactions that may stand between the receiver's 250 and our note when the sender dies."""


class Load:
    """Senders that hand in mails, and remember what was accepted."""

    def __init__(self, road: Any, make_mail: Callable[..., EmailMessage]) -> None:
        self._road = road
        self._mail = make_mail
        self.tag = f"load {new_id()}"
        self.accepted: dict[str, str] = {}  # subject to message id
        self.refused: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self._seen = road.sink.last_number()
        self._pause = SLOWLY
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)
        ]

    def _send(self, number: int) -> None:
        count = 0
        login = self._road.login()
        while not self._stop.is_set():
            try:
                with self._road.connect(login) as client:
                    while not self._stop.wait(self._pause):
                        count += 1
                        subject = f"{self.tag} {number}.{count}"
                        accepted = self._road.submit_on(
                            client, self._mail(subject), [f"user{count}@d{count % 7}.test"]
                        )
                        self.accepted[subject] = accepted.id
            except (OSError, smtplib.SMTPException, AssertionError) as error:
                self.refused[type(error).__name__] += 1
                self._stop.wait(0.1)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(200)
                assert not thread.is_alive()

    def rush(self) -> None:
        """Send as fast as mail is taken, until so many more are accepted."""
        wanted = len(self.accepted) + UNDER_LOAD
        self._pause = 0
        self._road.until(lambda: len(self.accepted) >= wanted, "mail is accepted")
        self._pause = SLOWLY

    def missing(self) -> set[str]:
        """Return what was accepted and has not arrived; `copies` counts the others."""
        for message in self._road.sink.messages(subject=self.tag, since=self._seen):
            self.copies[message.subject] += 1
            self._seen = message.number
        return set(self.accepted) - set(self.copies)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "victims",
    [
        # The ingress comes last: the others start again meanwhile, and nothing is accepted there.
        ("transformer", "bounce-processor", "tracker", "feedback", "ingress-http", "ingress-smtp"),
        ("sender",),
        ("rabbitmq",),
        ("mongod",),
    ],
    ids=["services that hold nothing", "sender", "rabbitmq", "mongod"],
)
def test_nothing_accepted_is_lost_when_processes_are_killed_under_load(
    road: Any, make_mail: Callable[..., EmailMessage], victims: tuple[str, ...]
) -> None:
    load = Load(road, make_mail)
    with load.running():
        gone: dict[str, list[int]] = {}
        for victim in victims:
            load.rush()
            gone[victim] = road.stack.kill(victim)
        for victim, pids in gone.items():
            road.stack.wait_back(victim, pids)
        load.rush()
    assert len(load.accepted) >= UNDER_LOAD * (len(victims) + 1)
    road.until(
        lambda: not load.missing(),
        "every accepted mail arrived",
        lambda: f"{len(load.missing())} are missing",
    )
    copies = load.copies
    duplicates = sum(copies[subject] - 1 for subject in load.accepted)
    assert duplicates <= (IN_FLIGHT if "sender" in victims else 0), (
        duplicates,
        copies.most_common(3),
    )
    for subject in list(load.accepted)[-3:]:
        road.wait_state(load.accepted[subject], "delivered")


@contextlib.contextmanager
def hanging(road: Any, server: str) -> Iterator[None]:
    """Stop the server for a while, and let it go on as if nothing had been."""
    pids = [process.pid for process in road.stack.processes(server)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@timed(5.5)
def test_broker_that_hangs_is_answered_for_and_clicks_still_redirect(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage], limit: float | None
) -> None:
    first = road.submit(make_mail(subject), ["bob@receiver.test"])
    road.wait_state(first.id, "delivered")
    [arrived] = road.received(subject)
    raw = road.sink.raw(arrived.number).decode("latin-1").replace("=\r\n", "").replace("=3D", "=")
    tracker = road.stack.document.tracker
    link = tracker + raw.split(f'href="{tracker}', 1)[1].split('"', 1)[0]
    document = road.stack.document
    with road.connect() as client:
        client.ehlo()
        with hanging(road, "rabbitmq"):
            with at_most(limit):
                client.mail("sender@shop.test")
                client.rcpt("bob@receiver.test")
                content = make_mail(subject + " no").as_bytes(policy=policy.SMTP)
                code, text = road.data_reply(client, content)
            assert (code, text[:5]) == (451, b"4.3.0"), text
            with at_most(limit):
                answer = httpx.post(
                    f"{document.http}/v1/send",
                    headers={"authorization": f"Bearer {document.token}"},
                    json={"recipient": "bob@receiver.test", "from": "a@shop.test", "text": "x"},
                    timeout=90,
                )
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert road.get(link).status_code == 302
    road.wait_event(first.id, "clicked")
    again = road.submit_again(make_mail(subject + " again"), ["bob@receiver.test"])
    road.wait_state(again.id, "delivered")


def test_with_the_database_hanging_known_logins_still_send_and_events_come_later(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    login = road.login()
    road.connect(login).quit()
    with hanging(road, "mongod"):
        with road.connect(login) as client:
            accepted = road.submit_on(client, make_mail(subject), ["bob@receiver.test"])
        road.received(subject)
    message = road.wait_state(accepted.id, "delivered")
    assert message["timeline"][0]["event"] == "accepted"


def test_service_told_to_end_finishes_the_transaction_in_progress(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    client = road.connect()
    client.mail("sender@shop.test")
    client.rcpt("bob@receiver.test")
    gone = road.stack.kill("ingress-smtp", signal.SIGTERM)
    code, text = client.data(make_mail(subject).as_bytes(policy=policy.SMTP))
    assert code == 250, text
    client.close()
    road.stack.wait_back("ingress-smtp", gone)
    road.received(subject)
