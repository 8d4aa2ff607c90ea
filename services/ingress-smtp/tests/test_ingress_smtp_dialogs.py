r"""Plays the files in `dialogs` against the service. Their names are its specification.

One step per line; the first word names the client, so several can take part:

    c connect submission    connect to a listener (`submission`, `submissions`, `mx`); `plain`
                            behind it leaves out the TLS handshake
    c -> text               send a line
    c => octets             send octets; \r \n \0 \xHH stand for what they do in Python
    c <- line               the next line is this one
    c <~ text               the next reply's last line starts so
    c <+ expression         the next line matches this regular expression
    c tls                   the TLS handshake after STARTTLS
    c closed                the server has closed
    c secure, c login, c envelope, c message
                            connect and go on to EHLO behind STARTTLS, AUTH, RCPT, the 354
    c flood LINE, c trickle OCTETS
                            send again and again until the server closes

`{name}` is a login or an address (see `variables`), `{x*9}` repeats. Comments before the first
step set the limits or settings of the server, and say how many messages must be on a queue at the
end, which is otherwise none: `# limits: {…}`, `# setting: NAME=value`, `# published: 1`,
`# returned: 1`.
"""

import base64
import codecs
import json
import re
import select
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from postroad_common.broker import topology
from postroad_common.mail.feedbackloop import FeedbackAddresses
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.verp import BounceAddresses
from postroad_common.tokens import Keyring

_DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.dialog"))
_REPEAT = re.compile(r"\{(.)\*(\d+)\}")
_DAY = 86_400


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="session")
def variables(
    login: Any,
    new_login: Any,
    bounce_addresses: BounceAddresses,
    feedback_addresses: FeedbackAddresses,
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


class Play:
    """A dialog in progress."""

    def __init__(self, server: Any, login: Any, variables: dict[str, str]) -> None:
        self.server = server
        self.login = login
        self.variables = variables
        self.clients: dict[str, Any] = {}

    def fill(self, text: str) -> str:
        text = _REPEAT.sub(lambda match: match[1] * int(match[2]), text)
        for name, value in self.variables.items():
            text = text.replace("{" + name + "}", value)
        return text

    def step(self, line: str) -> None:
        who, _, rest = line.partition(" ")
        verb, _, text = rest.partition(" ")
        text = self.fill(text)
        if verb in {"connect", "secure", "login", "envelope", "message"}:
            self.clients[who] = self.open(verb, text)
            return
        client = self.clients[who]
        match verb:
            case "->":
                client.send(text.encode() + b"\r\n")
            case "=>":
                client.send(codecs.escape_decode(text.encode())[0])
            case "<-":
                assert client.line() == text
            case "<~":
                client.expect(text)
            case "<+":
                answer = client.line()
                assert re.fullmatch(text, answer), answer
            case "tls":
                client.start_tls()
            case "closed":
                client.expect_close()
            case "flood":
                self.repeat(client, text.encode() + b"\r\n", 0.001)
                while client.unread.startswith(b"250"):
                    client.line()
            case "trickle":
                self.repeat(client, text.encode(), 0.02)
            case _:
                pytest.fail(f"no such step: {line}")

    def open(self, verb: str, text: str) -> Any:
        if verb == "connect":
            listener, *options = text.split()
            tls = listener == "submissions" and "plain" not in options
            return self.server.client(listener, tls=tls)
        if verb == "secure":
            return self.server.secure_client()
        client = self.server.secure_client(self.login)
        if verb in {"envelope", "message"}:
            client.ask("MAIL FROM:<ann@shop.example>", "250")
            client.ask("RCPT TO:<bob@there.example>", "250")
        if verb == "message":
            client.ask("DATA", "354")
        return client

    @staticmethod
    def repeat(client: Any, octets: bytes, pause: float) -> None:
        """Send until the server says 421, `pause` seconds apart."""
        deadline = time.monotonic() + 10
        while b"421 " not in client.unread:
            assert time.monotonic() < deadline
            try:
                client.send(octets)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                break
            pending = client.socket.pending() if isinstance(client.socket, ssl.SSLSocket) else 0
            if pending or select.select([client.socket], [], [], pause)[0]:
                client.unread += client.socket.recv(65536)

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


@pytest.mark.parametrize("path", _DIALOGS, ids=[path.stem for path in _DIALOGS])
def test_dialog(
    path: Path,
    ingress: Any,
    ingress_with: Any,
    login: Any,
    variables: dict[str, str],
    broker: Any,
):
    lines = path.read_text(encoding="utf-8").splitlines()
    limits: dict[str, Any] = {}
    settings: dict[str, str] = {}
    expected = {"published": 0, "returned": 0}
    for line in lines:
        match line.removeprefix("# ").split(": ", 1) if line.startswith("# ") else []:
            case ["limits", text]:
                limits = json.loads(text)
            case ["setting", text]:
                name, _, value = text.partition("=")
                settings[name] = value
            case ["published" | "returned" as what, text]:
                expected[what] = int(text)
    server = ingress_with(limits, **settings) if limits or settings else ingress
    play = Play(server, login, variables)
    try:
        for number, line in enumerate(lines, 1):
            if line and not line.startswith("#"):
                try:
                    play.step(line)
                except (AssertionError, OSError) as error:
                    pytest.fail(f"{path.name}:{number}: {line[:200]}\n{error!r}"[:2000])
    finally:
        play.close()
    assert broker.count() == expected["published"]
    assert broker.count(topology.RETURNS.name) == expected["returned"]
