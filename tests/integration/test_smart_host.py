"""A stock Postfix uses Postroad as its smart host: the usual lines, and all the way to the reader.

The Postfix is an instance of the test's own: its own configuration, queue and ports on loopback.
"""

import os
import pwd
import shutil
import smtplib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postroad_testing.ports import free_port

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n - n -  0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -  - trivial-rewrite
bounce    unix  - - n -  0 bounce
defer     unix  - - n -  0 bounce
trace     unix  - - n -  0 bounce
smtp      unix  - - n -  - smtp
relay     unix  - - n -  - smtp
error     unix  - - n -  - error
retry     unix  - - n -  - error
scache    unix  - - n -  1 scache
showq     unix  n - n -  - showq
proxymap  unix  - - n -  - proxymap
anvil     unix  - - n -  1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""
MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = client.test
mydestination =
smtp_host_lookup = native
relayhost = [localhost]:{relay}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{folder}/config/sasl
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = nexthop
smtp_tls_CAfile = {folder}/config/ca.pem
"""


@dataclass(frozen=True)
class Postfix:
    """A running Postfix that relays everything; `port` is where applications hand in."""

    port: int
    log: Path


@pytest.fixture
def postfix(road: Any, program: Callable[[str], str]) -> Iterator[Postfix]:
    command = program("postfix")
    if os.geteuid() != 0:
        pytest.skip("a Postfix of one's own needs root")
    username, password = road.login(())
    document = road.stack.document
    folder = Path(tempfile.mkdtemp(prefix="postroad-postfix-"))
    folder.chmod(0o755)
    for name in ("config", "spool", "data"):
        (folder / name).mkdir()
    os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
    port = free_port()
    config = folder / "config"
    shutil.copy(document.ca, config / "ca.pem")
    (config / "sasl").write_text(f"[localhost]:{document.smtp.port} {username}:{password}\n")
    (config / "master.cf").write_text(MASTER.format(port=port))
    (config / "main.cf").write_text(MAIN.format(folder=folder, relay=document.smtp.port))
    subprocess.run([command, "-c", str(config), "start"], check=True, timeout=200)
    try:
        yield Postfix(port, folder / "log")
    finally:
        subprocess.run([command, "-c", str(config), "stop"], check=False, timeout=200)
        shutil.rmtree(folder)


@pytest.mark.timeout(600)  # the first time Postfix has to be installed
def test_mail_through_postfix_arrives_with_its_dsn_parameters(
    road: Any, postfix: Postfix, subject: str
):
    with smtplib.SMTP("127.0.0.1", postfix.port, "app.test", 90) as application:
        application.ehlo()
        application.mail("ann@shop.test", ("RET=HDRS", "ENVID=Order+2B47-aB"))
        application.rcpt(
            "bob@receiver.test",
            ("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Bob+2Bx@receiver.test"),
        )
        application.rcpt("eve@receiver.test", ("NOTIFY=NEVER",))
        code, text = application.data(
            f"From: ann@shop.test\r\nSubject: {subject}\r\n\r\nHello\r\n.dot\r\n".encode()
        )
        assert code == 250, text

    road.until(
        lambda: postfix.log.read_text().count("status=sent (250") == 2,
        "Postfix has handed the mail in",
        postfix.log.read_text,
    )
    parameters: dict[str, dict[str, str]] = {}

    def both_arrived() -> bool:
        for message in road.received(subject):
            parameters.update(zip(message.recipients, message.recipient_parameters, strict=True))
        return len(parameters) == 2

    road.until(both_arrived, "both recipients have the mail")
    assert parameters == {
        "bob@receiver.test": {
            "NOTIFY": "FAILURE,SUCCESS",
            "ORCPT": "rfc822;Bob+2Bx@receiver.test",
        },
        "eve@receiver.test": {"NOTIFY": "NEVER", "ORCPT": "rfc822;eve@receiver.test"},
    }
    for message in road.received(subject):
        assert message.envelope == "ann@shop.test"
        assert message.mail_parameters["RET"] == "HDRS"
        assert message.mail_parameters["ENVID"] == "Order+2B47-aB"
        assert b"\r\n.dot\r\n" in road.sink.raw(message.number)
