"""What operators rely on: certificates, proxies, changing logins, servers that go away, drain."""

import re
import select
import shutil
import signal
import ssl
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from postroad_common.schemas.framing import decode
from postroad_common.schemas.submission import Submission
from postroad_common.settingsloading import SettingsError
from postroad_stack.certificates import ensure_certificates
from postroad_testing.forwarder import Forwarder
from postroad_testing.pace import at_most, timed
from postroad_testing.ports import free_port
from postroad_testing.waiting import wait_until


def send_message(client: Any, body: bytes = b"Subject: x\r\n\r\nHello\r\n") -> list[str]:
    client.ask("MAIL FROM:<ann@shop.example>", "250")
    client.ask("RCPT TO:<bob@there.example>", "250")
    client.ask("DATA", "354")
    client.send(body + b".\r\n")
    return client.reply()


def test_tls_1_1_is_refused_and_1_2_is_taken(ingress: Any):
    with ingress.client() as client:
        client.expect("220")
        client.ask("STARTTLS", "220")
        with pytest.raises(ssl.SSLError):
            client.start_tls(ssl.TLSVersion.TLSv1_1)
    with ingress.client() as client:
        client.expect("220")
        client.ask("STARTTLS", "220")
        client.start_tls(ssl.TLSVersion.TLSv1_2)
        client.ask("EHLO client.test", "250")
        assert client.socket.version() == "TLSv1.2"


@pytest.mark.parametrize("ciphers", ["ECDHE+AES:!AESGCM:!AESCCM", "AESGCM:!ECDHE:!DHE"])
def test_suites_with_cbc_or_without_forward_secrecy_are_refused(ingress: Any, ciphers: str):
    with ingress.client() as client:
        client.expect("220")
        client.ask("STARTTLS", "220")
        with pytest.raises(ssl.SSLError):
            client.start_tls(ssl.TLSVersion.TLSv1_2, ciphers)
    with ingress.client() as client:
        client.expect("220")
        client.ask("STARTTLS", "220")
        client.start_tls(ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM")
        client.ask("EHLO client.test", "250")


def test_a_renewed_certificate_is_used_for_new_connections(start_ingress: Any, tmp_path: Path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = ensure_certificates(tmp_path / "first", ["localhost"])
    second = ensure_certificates(tmp_path / "second", ["localhost"])
    used_cert, used_key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(first.certificate, used_cert)
    shutil.copy(first.key, used_key)
    server = start_ingress(TLS_CERT=str(used_cert), TLS_KEY=str(used_key), TLS_WATCH_SECONDS="0.05")
    server.certificates = first
    standing = server.client("submissions", tls=True)
    standing.expect("220")

    shutil.copy(second.certificate, used_cert)  # for a moment the pair does not match
    server.wait_log("new certificate cannot be used")
    shutil.copy(second.key, used_key)
    server.wait_log("certificate loaded again")

    server.certificates = second
    server.client("submissions", tls=True).expect("220")
    standing.ask("EHLO client.test", "250")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("/nowhere/none.pem", "POSTROAD_TLS_CERT: '/nowhere/none.pem' cannot be read"),
        ("/dev/null", "POSTROAD_TLS_CERT and POSTROAD_TLS_KEY cannot be used"),
    ],
)
def test_a_certificate_that_cannot_be_used_stops_the_start_with_a_clear_message(
    start_ingress: Any, file: str, message: str
):
    with pytest.raises(AssertionError, match=message):
        start_ingress(TLS_CERT=file)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"smtp":{"conections":1}}', "smtp.conections: is not known; did you mean connections?"),
        ('{"smtp":{"xyzzy":1}}', "smtp.xyzzy: is not known; the names are in docs/smtp.md"),
        ('{"smtp":{"connections":"many"}}', "smtp.connections: must be a whole number"),
        ('{"smtp":{"connections":0}}', "smtp.connections: must be 1 or more"),
        ("nonsense", "is not JSON"),
        ("[1]", 'must be an object with the sections "smtp" and "http"'),
        ('{"connections":1}', 'connections belongs into "smtp"'),
        ('{"smpt":{}}', 'smpt is not a section; did you mean "smtp"?'),
        ('{"imap":{}}', 'imap is not a section; there are "smtp" and "http"'),
    ],
)
def test_wrong_limits_are_refused_with_a_clear_message(ingress_with: Any, value: str, message: str):
    with pytest.raises(SettingsError) as refused:
        ingress_with(LIMITS=value)
    (problem,) = refused.value.problems
    assert "POSTROAD_LIMITS" in problem
    assert message in problem


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ops", "the address has no domain"),
        ("ops@bounce.postroad.test", "leads back here"),
        ("ops@mail.postroad.test", "leads back here"),
    ],
)
def test_postmaster_is_an_address_elsewhere(ingress_with: Any, value: str, message: str):
    with pytest.raises(SettingsError, match=f"POSTROAD_POSTMASTER.*{message}"):
        ingress_with(POSTMASTER=value)


def test_limits_of_the_other_ingress_are_left_to_it(ingress_with: Any):
    server = ingress_with(LIMITS='{"smtp":{"connections":1},"http":{"requests":5}}')
    with server.client() as first, server.client() as second:
        first.expect("220")
        second.expect("421 4.3.2")


def test_wrong_limits_stop_the_start(start_ingress: Any):
    with pytest.raises(AssertionError, match="POSTROAD_LIMITS: smpt is not a section"):
        start_ingress(LIMITS='{"smpt":{}}')


PROXY_V1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 50000 587\r\n"
PROXY_V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11"
    + struct.pack(">H", 12)
    + bytes((203, 0, 113, 7, 127, 0, 0, 1))
    + struct.pack(">HH", 50000, 465)
)


@pytest.fixture(scope="module")
def proxied(ingress_with: Any):
    return ingress_with(PROXY_NETWORKS="127.0.0.0/8")


@pytest.mark.parametrize(("listener", "tls"), [("submission", False), ("submissions", True)])
@pytest.mark.parametrize("header", [PROXY_V1, PROXY_V2], ids=["v1", "v2"])
def test_the_client_behind_a_proxy_is_known_with_and_without_tls(
    proxied: Any, login: Any, broker: Any, listener: str, *, tls: bool, header: bytes
):
    with proxied.client(listener) as client:
        client.send(header)
        if tls:
            client.start_tls()
            client.expect("220")
        else:
            client.expect("220")
            client.ask("STARTTLS", "220")
            client.start_tls()
        client.ask("EHLO client.test", "250")
        client.ask(f"AUTH PLAIN {login.plain}", "235")
        assert send_message(client)[-1].startswith("250 ")
    submission, _ = broker.submission()
    assert submission.client is not None
    assert submission.client.ip == "203.0.113.7"


def test_a_proxy_header_and_commands_in_one_segment_are_both_read(proxied: Any):
    with proxied.client("mx") as client:
        client.send(PROXY_V1 + b"EHLO client.test\r\n")
        client.expect("220")
        client.expect("250")


def test_a_balancers_own_health_check_is_greeted(proxied: Any):
    with proxied.client("mx") as client:
        client.send(b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
        client.expect("220")


@pytest.mark.parametrize(
    "header", [b"EHLO client.test\r\n", b"PROXY TCP4 nonsense\r\n", b"PROXY " + b"x" * 200]
)
def test_a_proxy_that_sends_no_header_is_closed(proxied: Any, header: bytes):
    with proxied.client("mx") as client:
        client.send(header)
        client.expect_close()


def test_a_proxy_header_from_anywhere_else_is_no_command(ingress: Any):
    with ingress.client("mx") as client:
        client.expect("220")
        client.ask(PROXY_V1.decode().strip(), "500 5.5.1")


@pytest.fixture(scope="module")
def quick(ingress_with: Any):
    """Logins are looked up again at once."""
    return ingress_with({"auth_refresh_seconds": 0.05})


def test_a_disabled_login_ends_within_seconds_in_standing_sessions_too(
    quick: Any, new_login: Any, change_login: Any
):
    login = new_login()
    client = quick.secure_client(login)
    client.ask("MAIL FROM:<ann@shop.example>", "250")
    client.ask("RSET", "250")
    change_login(login, {"disabled": True})
    replies = []

    def ended() -> bool:
        client.send(b"MAIL FROM:<ann@shop.example>\r\nRSET\r\n")
        replies.extend(client.reply())
        if replies[-1].startswith("421 4.7.0"):
            return True
        client.reply()
        return False

    wait_until(ended)
    client.expect_close()
    quick.secure_client().ask(f"AUTH PLAIN {login.plain}", "535 5.7.8")


def test_after_rotation_only_the_new_password_works(quick: Any, new_login: Any, change_login: Any):
    login = new_login()
    quick.secure_client(login).close()
    change_login(login, {"password": "another password"})
    changed = type(login)(login.username, "another password")

    def old_is_refused() -> bool:
        client = quick.secure_client()
        client.send(f"AUTH PLAIN {login.plain}\r\n".encode())
        return client.reply()[-1].startswith("535")

    wait_until(old_is_refused)
    quick.secure_client(changed).close()


def test_changed_features_hold_for_the_next_message_of_a_standing_session(
    quick: Any, new_login: Any, change_login: Any, broker: Any
):
    login = new_login()
    client = quick.secure_client(login)
    send_message(client)
    assert broker.submission()[0].features.inlinecss is False
    change_login(login, {"features": {"inlinecss": True}})

    def changed() -> bool:
        send_message(client)
        return broker.submission()[0].features.inlinecss

    wait_until(changed)


@pytest.mark.speed
def test_many_connections_with_one_password_check_it_once(ingress: Any, new_login: Any):
    login = new_login()
    before = ingress.metric("process_cpu_seconds_total")
    clients = [ingress.secure_client() for _ in range(20)]
    for client in clients:
        client.send(f"AUTH PLAIN {login.plain}\r\n".encode())
    for client in clients:
        client.expect("235")
    assert ingress.metric("process_cpu_seconds_total") - before < 20 * 0.03


def test_a_failed_login_is_answered_late(ingress_with: Any, login: Any):
    guesser = ingress_with({"auth_delay_seconds": 0.8}).secure_client()
    wrong = type(login)(login.username, "wrong")
    started = time.monotonic()
    guesser.ask(f"AUTH PLAIN {wrong.plain}", "535")
    assert time.monotonic() - started >= 0.8


def test_nobody_waits_for_the_failed_login_of_another(ingress_with: Any, login: Any):
    server = ingress_with({"auth_delay_seconds": 30, "auth_delay_max_seconds": 30})
    wrong = type(login)(login.username, "wrong")
    guesser, honest = server.secure_client(), server.secure_client()
    guesser.send(f"AUTH PLAIN {wrong.plain}\r\n".encode())
    honest.ask(f"AUTH PLAIN {login.plain}", "235")
    answered, _, _ = select.select([guesser.socket], [], [], 0)
    assert not answered
    guesser.close()


def test_drain_finishes_the_transaction_and_turns_the_idle_away(
    start_ingress: Any, login: Any, broker: Any
):
    server = start_ingress()
    idle = server.secure_client(login)
    clients = [server.secure_client(login) for _ in range(3)]
    for client in clients:
        client.ask("MAIL FROM:<ann@shop.example>", "250")
        client.ask("RCPT TO:<bob@there.example>", "250")
        client.ask("DATA", "354")
        client.send(b"Subject: x\r\n\r\nbegun")
    server.process.send(signal.SIGTERM)
    idle.expect("421 4.3.2")
    idle.expect_close()
    with pytest.raises(ConnectionRefusedError):
        server.client()
    for client in clients:
        client.send(b" before the end\r\n.\r\n")
        client.expect("250 2.0.0 Ok, queued as ")
    polite, eager, silent = clients
    polite.ask("QUIT", "221 2.0.0")
    eager.ask("MAIL FROM:<ann@shop.example>", "421 4.3.2")
    silent.expect("421 4.3.2")
    for client in clients:
        client.expect_close()
    assert server.process.wait() == 0
    for frame in broker.take(3):
        assert decode(Submission, frame)[1] == b"Subject: x\r\n\r\nbegun before the end\r\n"


def test_processes_share_a_port(start_ingress: Any, login: Any):
    port = str(free_port())
    first = start_ingress(REUSE_PORT="true", SMTP_PORT=port)
    second = start_ingress(REUSE_PORT="true", SMTP_PORT=port)
    name = 'postroad_ingress_smtp_sessions_total{listener="submission"}'

    def both() -> bool:
        first.secure_client(login).close()
        return first.metric(name) > 0 and second.metric(name) > 0

    wait_until(both)


@timed(5.0)
def test_while_the_database_is_away_recent_logins_send_and_unknown_ones_try_later(
    ingress_with: Any, servers: Any, new_login: Any, broker: Any, limit: float | None
):
    known, unknown = new_login(), new_login()
    server = ingress_with({"auth_refresh_seconds": 0, "auth_cache_seconds": 0})
    standing = server.secure_client(known)
    assert send_message(standing)[-1].startswith("250 ")
    broker.take(1)
    pids = servers.stack.processes("mongod")
    servers.stack.kill("mongod", 19)  # SIGSTOP: it neither answers nor refuses
    try:
        with at_most(limit):
            assert send_message(standing)[-1].startswith("250 ")
            assert send_message(server.secure_client(known))[-1].startswith("250 ")
        refused = server.secure_client()
        refused.send(f"AUTH PLAIN {unknown.plain}\r\n".encode())
        large = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 30_000  # by way of the store
        with at_most(limit):
            assert send_message(standing, large)[-1].startswith("451 4.3.0")
        refused.expect("454 4.7.0")
    finally:
        servers.stack.kill("mongod", 18)  # SIGCONT
    assert servers.stack.processes("mongod") == pids
    assert len(broker.take(2)) == 2
    assert broker.count() == 0
    wait_until(lambda: send_message(standing, large)[-1].startswith("250 "))


@timed(5.0)
def test_while_the_broker_hangs_the_answer_is_451(
    ingress: Any, servers: Any, login: Any, limit: float | None
):
    client = ingress.secure_client(login)
    servers.stack.kill("rabbitmq", 19)
    try:
        with at_most(limit):
            assert send_message(client)[-1].startswith("451 4.3.0")
    finally:
        servers.stack.kill("rabbitmq", 18)
    wait_until(lambda: send_message(client)[-1].startswith("250 "))


def test_while_the_broker_cannot_be_reached_data_is_refused_and_afterwards_taken(
    start_ingress: Any, servers: Any, thread: Any, login: Any
):
    cable, url = Forwarder.to(servers.amqp_url, 5672)
    thread.run(cable.open())
    server = start_ingress({"idle_commands": 2}, AMQP_URL=url)
    client = server.secure_client(login)
    thread.run(cable.close())
    wait_until(lambda: not server.ready())
    for _ in range(3):  # what is refused for our sake is no command without a message
        client.ask("MAIL FROM:<ann@shop.example>", "250")
        client.ask("RCPT TO:<bob@there.example>", "250")
        client.ask("DATA", "451 4.3.0")
        client.ask("RSET", "250")
    thread.run(cable.open())
    wait_until(server.ready)
    assert send_message(client)[-1].startswith("250 ")
    server.stop()
    thread.run(cable.close())


def test_metrics_tell_what_happened(ingress: Any, login: Any, broker: Any):
    accepted = 'postroad_ingress_smtp_messages_accepted_total{listener="submission"}'
    refused = 'postroad_ingress_smtp_refused_total{code="553",listener="submission"}'
    before = ingress.metric(accepted), ingress.metric(refused)
    client = ingress.secure_client(login)
    send_message(client)
    client.ask("MAIL FROM:<ann>", "553")
    assert ingress.metric(accepted) == before[0] + 1
    assert ingress.metric(refused) == before[1] + 1
    assert ingress.metric("postroad_ingress_smtp_publish_seconds_count") > 0
    broker.take(1)


def test_passwords_are_never_logged(start_ingress: Any, login: Any):
    server = start_ingress(LOG_LEVEL="debug")
    client = server.secure_client(login)
    assert send_message(client)[-1].startswith("250 ")
    client.close()
    server.wait_log("message taken")
    text = server.process.text()
    assert login.password not in text
    assert login.plain not in text
    assert not re.search("ann@shop|bob@there", text)
