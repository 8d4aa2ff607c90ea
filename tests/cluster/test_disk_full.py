"""Disks that fill up: what clients are told, that nothing is lost, and that it ends by itself.

The servers and the spools have small file systems of their own, in memory. Started by
`make test-cluster`; needs root, which may mount.
"""

import os
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest

from postroad_sink.client import SinkClient
from postroad_stack.stack import Stack
from postroad_stack.state_dir import StateDir
from postroad_testing.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
PATIENCE = 150.0
SIZES = {"rabbitmq": 700, "mongodb": 700, "spool": 2}
"""MiB."""
HEAVY = 3_000_000
LITTLE = 64_000_000
"""Octets that are less than RabbitMQ's `disk_free_limit` here."""
_CHUNK = 65_536


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"only root can mount a small file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("full")
    StateDir(folder).create()
    with ExitStack() as mounts:
        for name, size in SIZES.items():
            (folder / name).mkdir(exist_ok=True)
            mounts.enter_context(mounted(folder / name, size))
        with Stack.start(folder, env={"POSTROAD_RETRY_SCHEDULE": "1,1,2"}) as started:
            yield started


@contextmanager
def full(stack: Stack, name: str, left: int = 0) -> Iterator[None]:
    """Leave so many octets where that server or the spools are, while the block runs."""
    filler = stack.state_dir / name / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while shutil.disk_usage(filler).free > left and file.write(bytes(_CHUNK)) == _CHUNK:
                pass
    except OSError:
        pass
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture(scope="module")
def login(stack: Stack) -> tuple[str, str]:
    made = stack.api().post("/v1/credentials", {"name": "disk"})
    return made["username"], made["password"]


def mail_of(subject: str, size: int = 0) -> bytes:
    """Return a mail with so many random octets, which nothing makes smaller, as its attachment."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@shop.test", "bob@b.test", subject
    mail.set_content("Hello")
    if size:
        mail.add_attachment(os.urandom(size), maintype="application", subtype="octet-stream")
    return mail.as_bytes(policy=SMTP)


def hand_in(stack: Stack, login: tuple[str, str], mail: bytes = mail_of("By SMTP")) -> int:
    """Hand a mail in by SMTP; return the code of the last reply, 421 where it hung up."""
    document = stack.document
    assert document.smtp is not None
    try:
        with smtplib.SMTP(document.smtp.host, document.smtp.port, "shop.test", 60) as client:
            client.starttls(context=ssl.create_default_context(cafile=document.ca))
            client.login(*login)
            client.mail("shop@shop.test")
            client.rcpt("bob@b.test")
            return client.data(mail)[0]
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    except (OSError, smtplib.SMTPServerDisconnected):
        return 421


@pytest.mark.parametrize("left", [LITTLE, 0])
def test_without_room_for_the_broker_clients_are_told_to_come_again(
    stack: Stack, load: Any, login: tuple[str, str], left: int
) -> None:
    """It refuses in time by itself; to the last octet, its log fails until it is started again."""
    assert hand_in(stack, login) == 250
    with load(stack, f"broker-full-{left}") as found:
        with full(stack, "rabbitmq", left):
            wait_until(lambda: found.refusals.total() > 0, PATIENCE, "mail is refused")
            codes = {hand_in(stack, login) for _ in range(3)}
        if not left:
            (process,) = stack.processes("rabbitmq")
            assert process.pid is not None
            os.kill(process.pid, signal.SIGTERM)
            stack.wait_back("rabbitmq", [process.pid], limit=PATIENCE)
        found.wait_for_more()
    assert codes <= {451, 452}
    wait_until(lambda: hand_in(stack, login) == 250, PATIENCE, "mail is accepted by SMTP again")


def test_without_room_for_the_database_nothing_is_lost_and_it_comes_back(
    stack: Stack, load: Any, login: tuple[str, str]
) -> None:
    (process,) = stack.processes("mongod")
    assert process.pid is not None
    accepted = 0
    with load(stack, "database-full") as found:
        with full(stack, "mongodb"):
            # Large mail is kept in the database, until its next file has no room.
            deadline = time.monotonic() + PATIENCE
            while (code := hand_in(stack, login, mail_of("Heavy", HEAVY))) == 250:
                accepted += 1
                assert time.monotonic() < deadline, "the disk was full, and nobody noticed"
            wait_until(lambda: not is_alive(process.pid), PATIENCE, "mongod has given up")
            again = hand_in(stack, login, mail_of("Heavy", HEAVY))
            accepted += again == 250
        stack.wait_back("mongod", [process.pid], limit=PATIENCE)
        found.wait_for_more()
    assert code in {451, 452}
    assert again in {250, 451, 452}  # it may have been started once more, and have found room
    with SinkClient(stack.sink_url) as sink:
        wait_until(
            lambda: len(sink.messages(subject="Heavy")) >= accepted, PATIENCE, "all have arrived"
        )
    wait_until(
        lambda: hand_in(stack, login, mail_of("Heavy", HEAVY)) == 250, PATIENCE, "it is taken again"
    )
    sys.__stderr__.write(f"== {accepted} mails of {HEAVY} octets before {code}\n")


def is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_without_room_for_journal_and_spool_mail_goes_on(
    stack: Stack, load: Any, login: tuple[str, str]
) -> None:
    with load(stack, "spool-full") as found:
        with full(stack, "spool"):
            found.wait_for_more()
            assert hand_in(stack, login) == 250
        found.wait_for_more()
    assert not found.refusals
