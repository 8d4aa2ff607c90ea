"""What a process has in memory before anybody asks for anything."""

import ssl
import subprocess
import sys

from postroad_common.web.guard import UrlGuard
from postroad_common.web.resolver import Resolver
from postroad_ingress_http.fetching.download import FileClient

SELDOM = {"authlib", "cryptography", "dns", "segno"}
"""Libraries of megabytes that a process needs for domains, log-ins and calls, if it has any."""


def test_process_begins_without_the_libraries_that_few_requests_need() -> None:
    code = "import postroad_common.lean, postroad_ingress_http.main, sys; print(*sys.modules)"
    told = subprocess.run(  # noqa: S603 - the code above
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    loaded = {name.partition(".")[0] for name in told.stdout.split()}
    assert "fastapi" in loaded
    assert not loaded & SELDOM


def test_authorities_are_read_for_the_first_attachment() -> None:
    client = FileClient(UrlGuard((), Resolver().addresses), ("https",))
    assert not any(isinstance(value, ssl.SSLContext) for value in vars(client).values())
    assert client._tls.get_ca_certs() == ssl.create_default_context().get_ca_certs()
