"""The drill of docs/operations/backup.md: dump, wipe, restore, count."""

import re
import subprocess
import sys
from pathlib import Path

from postroad_stack.rest import RestClient
from postroad_stack.secrets import load_secrets
from postroad_stack.stack import Stack
from postroad_stack.state_dir import StateDir
from postroad_testing.waiting import wait_until

POSTROAD = Path(sys.executable).with_name("postroad")
MAILS = 12


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


def delivered(api: RestClient, ids: set[str]) -> bool:
    found = api.get("/v1/messages?state=delivered&limit=100")["items"]
    return ids <= {each["id"] for each in found}


def test_an_installation_that_was_wiped_is_restored_with_all_it_knew(
    stack: Stack, tmp_path: Path, amqp_url: str, mongodb_uri: str
) -> None:
    folder = tmp_path / "backup"
    api = stack.api()
    login = api.post("/v1/credentials", {"name": "shop"})["username"]
    api.post("/v1/suppressions", {"address": "no@receiver.test"})
    sent: set[str] = set()
    for number in range(MAILS):
        recipient = f"reader{number}@receiver.test"
        mail = {"from": "news@shop.test", "recipient": recipient, "to": recipient}
        sent |= api.post("/v1/send", mail | {"subject": "News", "text": "Hello"}).keys()
    wait_until(lambda: delivered(api, sent), 90.0, "all are known to be delivered")
    written = counts(postroad("backup", "--state-dir", str(stack.state_dir), str(folder)))
    assert len(sent) == MAILS <= written["messages"]
    assert written["events"] >= 3 * MAILS
    restored = counts(postroad("restore", "--uri", mongodb_uri, str(folder)))
    for name in ("messages", "events", "credentials", "suppressions", "rollups"):
        assert restored[name] == written[name], name
    given = {
        "POSTROAD_AMQP_URL": amqp_url,
        "POSTROAD_MONGODB_URI": mongodb_uri,
        "POSTROAD_SECRET": load_secrets(StateDir(stack.state_dir).secrets).secret,
    }
    with Stack.start(tmp_path / "second", env=given, only=("ingress-http",)) as second:
        assert stack.document.token is not None
        assert second.document.http is not None
        # With a token of the first installation.
        api = RestClient(second.document.http, stack.document.token)
        assert delivered(api, sent)
        assert login in [each["username"] for each in api.get("/v1/credentials")["items"]]
        second.stop(wipe=True)


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
