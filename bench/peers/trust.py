"""How the generator reaches a peer that has our certificate and our login."""

import ssl

from bench.peers.peer import PASSWORD, USERNAME
from bench.smtp import Server
from postroad_stack.certificates import Certificates


def server_of(certificates: Certificates, port: int) -> Server:
    """Return a server on 127.0.0.1 with STARTTLS and AUTH."""
    tls = ssl.create_default_context(cafile=certificates.ca)
    return Server("127.0.0.1", port, tls, USERNAME, PASSWORD)
