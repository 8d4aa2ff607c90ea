"""The drill of docs/operations/backup.md: dump, wipe, restore, count."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from postroad_sink.client import SinkClient
from postroad_stack.rest import RestClient
from postroad_stack.stack import Stack
from postroad_testing.waiting import wait_until

POSTROAD = Path(sys.executable).with_name("postroad")
MAILS = 12
SETTINGS = {"POSTROAD_SECRET": "kept-with-the-backup-0123456789abcdef"}
RUNS = (
    "rabbitmq",
    "mongod",
    "ingress-smtp",
    "ingress-http",
    "transformer",
    "sender",
    "feedback",
    "sink",
)


def postroad(*arguments: str) -> str:
    done = subprocess.run(
        [str(POSTROAD), *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def counts(text: str) -> dict[str, int]:
    """Return the number of documents by collection, as the command prints them."""
    return {
        name: int(number) for number, name in re.findall(r"^ *(\d+)  (\S+)$", text, re.MULTILINE)
    }


def delivered(api: RestClient) -> int:
    return len(api.get("/v1/messages?state=delivered&limit=100")["items"])


@pytest.mark.timeout(300)
def test_an_installation_that_was_wiped_is_restored_with_all_it_knew(tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    with Stack.start(tmp_path / "first", env=SETTINGS, only=RUNS) as stack:
        api = stack.api()
        login = api.post("/v1/credentials", {"name": "shop"})["username"]
        api.post("/v1/suppressions", {"address": "no@receiver.test"})
        for number in range(MAILS):
            recipient = f"reader{number}@receiver.test"
            mail = {"from": "news@shop.test", "recipient": recipient, "to": recipient}
            api.post("/v1/send", mail | {"subject": "News", "text": "Hello"})
        with SinkClient(stack.sink_url) as sink:
            sink.wait(at_least=MAILS, limit=60)
        wait_until(lambda: delivered(api) == MAILS, 60.0, "all are known to be delivered")
        written = counts(postroad("backup", "--state-dir", str(stack.state_dir), str(folder)))
        token = stack.document.token
        stack.stop(wipe=True)
    assert written["messages"] == MAILS
    assert written["events"] >= 3 * MAILS
    with Stack.start(tmp_path / "second", env=SETTINGS, only=RUNS) as stack:
        assert stack.api().get("/v1/messages")["items"] == []
        restored = counts(postroad("restore", "--state-dir", str(stack.state_dir), str(folder)))
        for name in ("messages", "events", "credentials", "suppressions", "rollups"):
            assert restored[name] == written[name], name
        assert stack.document.http is not None
        assert token is not None
        api = RestClient(stack.document.http, token)  # a token of the first installation
        assert delivered(api) == MAILS
        assert login in [each["username"] for each in api.get("/v1/credentials")["items"]]
        stack.stop(wipe=True)


def test_without_a_stack_and_without_an_address_the_command_says_what_it_needs(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [str(POSTROAD), "backup", "--state-dir", str(tmp_path), str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "POSTROAD_MONGODB_URI" in done.stderr
