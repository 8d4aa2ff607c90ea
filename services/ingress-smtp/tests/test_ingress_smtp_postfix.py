"""A stock Postfix uses Postroad as its smart host, set up with the usual lines."""

# ruff: noqa: S603, S607 - runs the programs that it tests with

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

MASTER = """\
pickup    unix  n - n 60 1 pickup
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
local     unix  - n n -  - local
scache    unix  - - n -  1 scache
showq     unix  n - n -  - showq
proxymap  unix  - - n -  - proxymap
postlog   unix-dgram n - n - 1 postlogd
"""

pytestmark = [
    pytest.mark.skipif(not shutil.which("postfix"), reason="Postfix is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a Postfix of one's own needs root"),
]


@pytest.fixture
def postfix(ingress: Any, login: Any):
    """The configuration folder of a running Postfix that relays everything to the service."""
    folder = Path(tempfile.mkdtemp(prefix="postroad-postfix-"))
    folder.chmod(0o755)
    owner = pwd.getpwnam("postfix").pw_uid
    config, spool, data = folder / "config", folder / "spool", folder / "data"
    for each in (config, spool, data):
        each.mkdir()
    os.chown(data, owner, -1)
    ca = shutil.copy(ingress.certificates.ca, config / "ca.pem")
    host = f"[localhost]:{ingress.ports['submission']}"
    (config / "sasl").write_text(f"{host} {login.username}:{login.password}\n")
    (config / "master.cf").write_text(MASTER)
    (config / "main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {spool}
data_directory = {data}
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = loopback-only
myhostname = client.test
mydestination =
smtp_host_lookup = native
smtp_address_preference = ipv4
relayhost = {host}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{config}/sasl
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = nexthop
smtp_tls_CAfile = {ca}
""")
    subprocess.run(["postfix", "-c", str(config), "start"], check=True, timeout=60)
    try:
        yield config
    finally:
        subprocess.run(["postfix", "-c", str(config), "stop"], check=False, timeout=60)
        shutil.rmtree(folder)


def test_postfix_relays_with_tls_and_auth_and_passes_dsn_parameters_on(postfix: Path, broker: Any):
    subprocess.run(
        [
            *("sendmail", "-C", str(postfix), "-f", "ann@shop.example"),
            *("-N", "success,failure", "-V", "Order-47", "bob@there.example", "eve@there.example"),
        ],
        input=b"Subject: from Postfix\n\nHello\n.dot\n",
        check=True,
        timeout=60,
    )
    submission, body = broker.submission()
    assert submission.subject == "from Postfix"
    assert submission.envelope == "ann@shop.example"
    assert submission.envid == "Order-47"
    assert [each.address for each in submission.recipients] == [
        "bob@there.example",
        "eve@there.example",
    ]
    assert {each.notify for each in submission.recipients} == {("failure", "success")}
    assert submission.recipients[0].orcpt == "rfc822;bob@there.example"
    assert submission.client is not None
    assert submission.client.helo == "client.test"
    assert b"\r\n.dot\r\n" in body
