"""Plays the files in `dialogs` against the service. Their names are its specification.

The language is that of `postroad_testing.dialog`. Steps of these tests only:

    c connect submission    connect to a listener (`submission`, `submissions`, `mx`); with `plain`
                            after it without the TLS handshake
    c secure, c login, c envelope, c message
                            connect and go on to EHLO after STARTTLS, AUTH, RCPT, the 354

`{name}` is a login or an address (see `variables`). Settings before the first step are limits or
settings of the server, and how many messages must be on a queue at the end, which is otherwise
none: `# limits: {…}`, `# setting: NAME=value`, `# published: 1`, `# returned: 1`.
"""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from postroad_common.broker import topology
from postroad_common.mail.feedbackloop import FeedbackAddresses
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.verp import BounceAddresses
from postroad_common.tokens import Keyring
from postroad_testing.dialog import read_dialog
from postroad_testing.dialogclient import Opener, play
from postroad_testing.lineclient import LineClient
from postroad_testing.waiting import wait_until

_DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.dialog"))
_DAY = 86_400


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="session")
def variables(
    login: Any,
    new_login: Any,
    bounce_addresses: BounceAddresses,
    feedback_addresses: FeedbackAddresses,
    strict_accounts: None,  # noqa: ARG001 - they are there
) -> dict[str, str]:
    user, password = login.username, login.password
    genuine = bounce_addresses.address(new_id())
    forger = BounceAddresses(Keyring(("another-secret-of-the-tests",)), bounce_addresses.domain)
    return {
        "plain": login.plain,
        "user64": _b64(user),
        "password64": _b64(password),
        "wrong": _b64(f"\0{user}\0not {password}"),
        "unknown": _b64(f"\0nobody\0{password}"),
        "acting": _b64(f"somebody\0{user}\0{password}"),
        "disabled": new_login(disabled=True).plain,
        "elsewhere": new_login(allowed_networks=("192.0.2.0/24", "2001:db8::/32")).plain,
        "restricted": new_login(
            sender_domains=("shop.example", "*.shop.example"), allowed_networks=("127.0.0.0/8",)
        ).plain,
        "strict": new_login(account="strict").plain,
        "suspended": new_login(account="suspended").plain,
        "limited": new_login(account="limited").plain,
        "bounce": genuine,
        "another": bounce_addresses.address(new_id()),
        "forged": forger.address(new_id()),
        "bounce_domain": bounce_addresses.domain,
        "feedback_deployment": feedback_addresses.secret_address(),
        "feedback_account": feedback_addresses.secret_address("acc"),
        "feedback_forged": FeedbackAddresses(
            Keyring(("another-secret-of-the-tests",)), bounce_addresses.domain
        ).secret_address("acc"),
        "expired": bounce_addresses.address(new_id(time.time() - 90 * _DAY)),
    }


def openers(server: Any, login: Any) -> dict[str, Opener]:
    """Return the steps that open a connection to `server`."""

    def connect(text: str) -> LineClient:
        listener, *options = text.split()
        tls = listener == "submissions" and "plain" not in options
        client: LineClient = server.client(listener, tls=tls)
        return client

    def secure(_: str) -> LineClient:
        client: LineClient = server.secure_client()
        return client

    def logged_in(_: str) -> LineClient:
        client: LineClient = server.secure_client(login)
        return client

    def envelope(text: str) -> LineClient:
        client = logged_in(text)
        client.ask("MAIL FROM:<ann@shop.example>", "250")
        client.ask("RCPT TO:<bob@there.example>", "250")
        return client

    def message(text: str) -> LineClient:
        client = envelope(text)
        client.ask("DATA", "354")
        return client

    return {
        "connect": connect,
        "secure": secure,
        "login": logged_in,
        "envelope": envelope,
        "message": message,
    }


@pytest.mark.parametrize("path", _DIALOGS, ids=[path.stem for path in _DIALOGS])
def test_dialog(
    path: Path,
    ingress: Any,
    ingress_with: Any,
    login: Any,
    variables: dict[str, str],
    broker: Any,
):
    dialog = read_dialog(path, variables)
    limits: dict[str, Any] = {}
    settings: dict[str, str] = {}
    expected = {"published": 0, "returned": 0}
    for what, value in dialog.settings:
        match what:
            case "limits":
                limits = json.loads(value)
            case "setting":
                name, _, given = value.partition("=")
                settings[name] = given
            case "published" | "returned":
                expected[what] = int(value)
    server = ingress_with(limits, **settings) if limits or settings else ingress
    play(dialog, openers(server, login))
    for name, queue in (("published", topology.ACCEPTED), ("returned", topology.RETURNS)):
        count = expected[name]  # a busy broker may say 0 at first
        wait_until(lambda queue=queue, count=count: broker.count(queue.name) == count, what=name)
