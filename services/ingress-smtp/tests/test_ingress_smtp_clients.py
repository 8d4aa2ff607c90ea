"""Clients that people use, and what arrives on the queue.

What is missing is installed where that is possible: by root on Debian and Ubuntu, nodemailer where
npm is. Postfix is in `tests/integration/test_smart_host.py`, through the whole stack.
"""

# ruff: noqa: S603, S607 - runs the programs that it tests with

import json
import os
import shutil
import smtplib
import ssl
import subprocess
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

NODEMAILER_VERSION = "7.0.10"
_INSTALL_SECONDS = 100  # a test that has to install may take this long


@pytest.fixture
def mail_file(tmp_path: Path) -> Path:
    path = tmp_path / "mail.eml"
    path.write_bytes(b"Subject: from curl\r\n\r\nHello\r\n")
    return path


@pytest.fixture(scope="session")
def node_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder with nodemailer for NODE_PATH."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node with npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
    try:
        subprocess.run(
            [*command, str(folder), f"nodemailer@{NODEMAILER_VERSION}"],
            check=True,
            capture_output=True,
            timeout=_INSTALL_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot install nodemailer: {error}")
    return str(folder / "node_modules")


def _mail(subject: str = "Grüße") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann <ann@shop.example>"
    message["To"] = "bob@there.example"
    message["Subject"] = subject
    message.set_content("Hello, wörld.\n.hidden dot\n")
    return message


def test_smtplib_with_starttls_puts_the_message_on_the_queue(ingress: Any, login: Any, broker: Any):
    context = ssl.create_default_context(cafile=str(ingress.certificates.ca))
    with smtplib.SMTP("localhost", ingress.ports["submission"]) as client:
        client.starttls(context=context)
        client.login(login.username, login.password)
        refused = client.send_message(_mail())
    assert refused == {}
    submission, body = broker.submission()
    assert submission.envelope == "ann@shop.example"
    assert [each.address for each in submission.recipients] == ["bob@there.example"]
    assert submission.subject == "Grüße"
    assert submission.eightbit
    assert submission.credential == login.username
    assert submission.features.clicktracking
    assert submission.client is not None
    assert submission.client.protocol == "ESMTPSA"
    assert submission.client.tls is not None
    assert b"\r\n.hidden dot\r\n" in body
    assert submission.size == len(body)


def test_curl_sends(ingress: Any, login: Any, broker: Any, program: Any, mail_file: Path):
    program("curl")
    for url in (
        f"smtp://localhost:{ingress.ports['submission']}/client.test",
        f"smtps://localhost:{ingress.ports['submissions']}/client.test",
    ):
        subprocess.run(
            [
                *("curl", "-sS", "--ssl-reqd", "--cacert", str(ingress.certificates.ca)),
                *("--mail-from", "ann@shop.example", "--mail-rcpt", "bob@there.example"),
                *("--user", f"{login.username}:{login.password}", "-T", str(mail_file), url),
            ],
            check=True,
            timeout=60,
        )
        assert broker.submission()[0].subject == "from curl"


def test_swaks_sends(ingress: Any, login: Any, broker: Any, program: Any):
    program("swaks")
    subprocess.run(
        [
            *("swaks", "--server", f"localhost:{ingress.ports['submission']}", "-tls"),
            *("--auth", "LOGIN", "--auth-user", login.username, "--auth-password", login.password),
            *("--from", "ann@shop.example", "--to", "bob@there.example", "--silent", "2"),
        ],
        check=True,
        timeout=60,
    )
    assert broker.submission()[0].envelope == "ann@shop.example"


def test_msmtp_sends(ingress: Any, login: Any, broker: Any, program: Any):
    program("msmtp")
    subprocess.run(
        [
            *("msmtp", "--host=localhost", f"--port={ingress.ports['submission']}", "--tls=on"),
            *(f"--tls-trust-file={ingress.certificates.ca}", "--auth=on", "--file=/dev/null"),
            *(f"--user={login.username}", f"--passwordeval=echo {login.password}"),
            *("--from=ann@shop.example", "bob@there.example"),
        ],
        input=b"Subject: from msmtp\n\nHello\n",
        check=True,
        timeout=60,
    )
    assert broker.submission()[0].subject == "from msmtp"


NODEMAILER = """
const { host, port, user, pass, ca } = JSON.parse(process.argv[1]);
const transport = require('nodemailer').createTransport({
  host, port, auth: { user, pass }, requireTLS: true, tls: { ca: require('fs').readFileSync(ca) },
});
transport.sendMail({
  from: 'ann@shop.example', to: 'bob@there.example', subject: 'Grüße von nodemailer',
  text: 'Hello', dsn: { id: 'Order-47', return: 'headers', notify: ['failure', 'delay'] },
}).then((info) => console.log(info.response));
"""


def test_nodemailer_sends_with_dsn_parameters(
    ingress: Any, login: Any, broker: Any, node_path: str
):
    options = {
        "host": "localhost",
        "port": ingress.ports["submission"],
        "user": login.username,
        "pass": login.password,
        "ca": str(ingress.certificates.ca),
    }
    done = subprocess.run(
        ["node", "-e", NODEMAILER, json.dumps(options)],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
        env={**os.environ, "NODE_PATH": node_path},
    )
    submission, _ = broker.submission()
    assert submission.recipients[0].id in done.stdout
    assert submission.subject == "Grüße von nodemailer"
    assert (submission.envid, submission.ret) == ("Order-47", "hdrs")
    assert submission.recipients[0].notify == ("delay", "failure")
