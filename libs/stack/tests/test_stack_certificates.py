import socket
import ssl
import threading
from pathlib import Path

import pytest

from postroad_stack.certificates import Certificates, ensure_certificates

NAMES = ("localhost", "127.0.0.1", "::1", "mail.postroad.test")


def shake_hands(files: Certificates, name: str, ca: Path) -> None:
    """One TLS handshake between a server with the certificate and a client that trusts `ca`."""
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(files.certificate, files.key)
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            with server_context.wrap_socket(near, server_side=True) as secured:
                secured.recv(1)
        except OSError:  # the client refused; it is the one that is asked here
            return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client_context = ssl.create_default_context(cafile=ca)
        with client_context.wrap_socket(far, server_hostname=name) as secured:
            secured.send(b"x")
    finally:
        far.close()
        thread.join()
        near.close()


@pytest.mark.parametrize("name", NAMES)
def test_client_that_trusts_the_ca_accepts_each_name(tmp_path: Path, name: str):
    files = ensure_certificates(tmp_path, NAMES)
    shake_hands(files, name, files.ca)


def test_client_refuses_another_name_and_another_ca(tmp_path: Path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = ensure_certificates(tmp_path / "one", NAMES)
    other = ensure_certificates(tmp_path / "other", NAMES)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(one, "elsewhere.test", one.ca)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(one, "localhost", other.ca)


def test_second_call_keeps_every_file(tmp_path: Path):
    files = ensure_certificates(tmp_path, NAMES)
    before = [path.read_bytes() for path in (files.ca, files.certificate, files.key)]
    ensure_certificates(tmp_path, NAMES)
    assert [path.read_bytes() for path in (files.ca, files.certificate, files.key)] == before


def test_new_name_makes_a_new_leaf_under_the_same_ca(tmp_path: Path):
    files = ensure_certificates(tmp_path, NAMES)
    ca = files.ca.read_bytes()
    ensure_certificates(tmp_path, (*NAMES, "other.test"))
    assert files.ca.read_bytes() == ca
    shake_hands(files, "other.test", files.ca)


def test_keys_are_readable_by_the_owner_only(tmp_path: Path):
    files = ensure_certificates(tmp_path, NAMES)
    assert files.key.stat().st_mode & 0o077 == 0
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0
