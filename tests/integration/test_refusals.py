"""What is refused, and how: each with a clear code, and never with a traceback."""

import smtplib
import socket
import ssl
from typing import Any

import httpx
import pytest


@pytest.fixture
def plain(road: Any) -> smtplib.SMTP:
    smtp = road.stack.document.smtp
    return smtplib.SMTP(smtp.host, smtp.port, "app.test", 90)


def test_nothing_works_before_tls(plain: smtplib.SMTP) -> None:
    with plain:
        plain.ehlo()
        assert plain.has_extn("starttls")
        assert not plain.has_extn("auth")
        for command in ("MAIL FROM:<a@b.test>", "AUTH PLAIN AGEAYg=="):
            code, text = plain.docmd(command)
            assert (code, text[:5]) == (530, b"5.7.0")


def test_wrong_password_is_refused_and_mail_needs_a_login(road: Any, plain: smtplib.SMTP) -> None:
    context = ssl.create_default_context(cafile=road.stack.document.ca)
    with plain:
        plain.starttls(context=context)
        plain.ehlo()
        assert "PLAIN" in plain.esmtp_features["auth"]
        code, text = plain.docmd("MAIL FROM:<a@b.test>")
        assert (code, text[:5]) == (530, b"5.7.0")
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            plain.login(road.login()[0], "wrong")
        assert caught.value.smtp_code == 535
        assert isinstance(caught.value.smtp_error, bytes)
        assert caught.value.smtp_error.startswith(b"5.7.8")


def test_rotated_and_disabled_logins_stop_working(road: Any) -> None:
    made = road.api.post("/v1/credentials", {"name": "short life", "features": {}})
    name = made["username"]
    road.connect((name, made["password"])).quit()
    rotated = road.api.post(f"/v1/credentials/{name}/rotate")

    def refused(password: str) -> bool:
        try:
            road.connect((name, password)).quit()
        except smtplib.SMTPAuthenticationError:
            return True
        return False

    road.until(lambda: refused(made["password"]), "the old password is refused")
    assert not refused(rotated["password"])
    road.api.patch(f"/v1/credentials/{name}", {"disabled": True})
    road.until(lambda: refused(rotated["password"]), "the disabled login is refused")
    road.api.delete(f"/v1/credentials/{name}")


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "field"),
    [
        ("GET", "/nowhere", {}, 404, None),
        ("GET", "/v1/nowhere", {}, 404, None),
        ("GET", "/v1/messages/zzz", {}, 404, None),
        ("PUT", "/v1/send", {}, 405, None),
        ("POST", "/v1/send", {"content": b"{broken"}, 400, None),
        ("POST", "/v1/send", {"content": b"[]"}, 400, None),
        ("POST", "/v1/send", {"content": b'"text"'}, 400, None),
        ("POST", "/v1/send", {"content": b"\xff\xfe"}, 400, None),
        ("POST", "/v1/send", {"json": {}}, 400, "recipient"),
        ("POST", "/v1/send", {"json": {"recipient": "a@b.test"}}, 400, None),
        ("POST", "/v1/send", {"json": {"recipient": 7, "body": "x"}}, 400, "recipient"),
        (
            "POST",
            "/v1/send",
            {"json": {"recipient": "no address", "body": "A: b\n\nx"}},
            400,
            "recipient",
        ),
        (
            "POST",
            "/v1/send",
            {"json": {"recipient": "a@b.test\r\nDATA", "body": "A: b\n\nx"}},
            400,
            "recipient",
        ),
        (
            "POST",
            "/v1/send",
            {"json": {"recipient": "a@b.test", "body": "A: b\n\nx", "envelope": "x"}},
            400,
            "envelope",
        ),
        (
            "POST",
            "/v1/send",
            {"json": {"recipient": "a@b.test", "body": "A: b\n\nx", "inlinecss": "maybe"}},
            400,
            "inlinecss",
        ),
    ],
)
def test_bad_request_gets_an_error_that_names_the_field(
    road: Any, method: str, path: str, options: dict[str, Any], status: int, field: str | None
) -> None:
    document = road.stack.document
    headers = {"authorization": f"Bearer {document.token}"}
    if "content" in options:
        headers["content-type"] = "application/json"
    answer = httpx.request(method, document.http + path, headers=headers, timeout=90, **options)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"]
    assert error["message"]
    if field is not None:
        assert error["field"] == field
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("token", [None, "pr_wrong", "x" * 5000])
def test_unknown_token_is_refused(road: Any, token: str | None) -> None:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    answer = httpx.get(f"{road.stack.document.http}/v1/messages", headers=headers, timeout=90)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"]


def test_octets_that_are_no_http_or_smtp_do_not_disturb_anybody(road: Any) -> None:
    document = road.stack.document
    ports = [document.smtp.port, document.smtps.port, document.mx.port]
    ports += [int(url.rsplit(":", 1)[1]) for url in (document.http, document.tracker)]
    for port in ports:
        for junk in (b"\x00" * 2000, b"\xff\xfe\r\n" * 500, b"GET " + b"a" * 70_000):
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.settimeout(5)
                try:
                    connection.sendall(junk)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except (ConnectionError, TimeoutError):
                    pass
    assert httpx.get(f"{document.http}/livez", timeout=5).status_code == 200
    road.connect().quit()
