"""TLS to broker and database: settings that cannot be used, and servers that are refused.

The real servers are tried in `tests/cluster`; here is who does not get as far as to speak AMQP.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from postroad_common.broker.link import BrokerLink
from postroad_common.servertls import ServerTls, explain_tls
from postroad_common.settings import ServiceSettings
from postroad_common.settingsloading import SettingsError, load
from postroad_common.store import Database
from postroad_testing.certificates import Authority, self_signed
from postroad_testing.waiting import until

AMQPS = "amqps://broker.test/"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return what loads settings with these variables, and returns what is wrong with them."""

    def find(**variables: str | Path) -> list[str]:
        given = {
            "AMQP_URL": AMQPS,
            "MONGODB_URI": "mongodb://db.test/postroad",
            "SECRET": "0123456789abcdef",
        }
        for name, value in {**given, **variables}.items():
            monkeypatch.setenv(f"POSTROAD_{name}", str(value))
        try:
            load(ServiceSettings)
        except SettingsError as error:
            return error.problems
        return []

    return find


def test_files_of_authority_certificate_and_key_are_taken(
    problems: Callable[..., list[str]], authority: Authority
) -> None:
    path = authority.issue("sender").path
    for server in ("AMQP", "MONGODB"):
        assert not problems(**{f"{server}_CA": authority.file, f"{server}_CERT": path})
        assert not problems(**{f"{server}_KEY": path})


def test_key_in_a_file_of_its_own_is_joined_for_the_database_for_a_moment(
    authority: Authority, tmp_path: Path
) -> None:
    key, certificate = authority.issue("sender").path.read_text().split("-----BEGIN CERTIFICATE", 1)
    (tmp_path / "tls.key").write_text(key)
    (tmp_path / "tls.crt").write_text(f"-----BEGIN CERTIFICATE{certificate}")
    chosen = ServerTls(authority.file, tmp_path / "tls.crt", tmp_path / "tls.key")
    chosen.context()
    with chosen.mongodb_options() as options:
        joined = Path(options["tlsCertificateKeyFile"])
        assert joined.stat().st_mode & 0o077 == 0
        ssl.create_default_context().load_cert_chain(joined)
        Database("mongodb://127.0.0.1:1/none", tls=chosen)
    assert not joined.exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AMQP_CA": "nowhere.pem"}, "POSTROAD_AMQP_CA: 'nowhere.pem' cannot be read: No such"),
        ({"MONGODB_CERT": "/dev/null"}, "POSTROAD_MONGODB_CA, _CERT or _KEY cannot be used"),
        ({"MONGODB_KEY": "/dev/null"}, "POSTROAD_MONGODB_KEY without POSTROAD_MONGODB_CERT"),
    ],
    ids=["no file", "no certificate", "key alone"],
)
def test_files_that_cannot_be_used_are_named_at_the_start(
    problems: Callable[..., list[str]], variables: dict[str, str], said: str
) -> None:
    (found,) = problems(**variables)
    assert re.match(said, found)


def test_authority_of_the_broker_needs_a_url_with_tls(
    problems: Callable[..., list[str]], authority: Authority
) -> None:
    (found,) = problems(AMQP_URL="amqp://broker.test/", AMQP_CA=authority.file)
    assert found == "POSTROAD_AMQP_CA and _CERT need a POSTROAD_AMQP_URL with amqps://"


@asynccontextmanager
async def listening(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Yield the port of a server that makes handshakes and says nothing."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said_of_broker(port: int, tls: ServerTls) -> str:
    """Return what a link logs that cannot connect."""
    link = BrokerLink(f"amqps://127.0.0.1:{port}/", "test", tls=tls)
    with capture_logs() as logs:
        link.start()
        await until(lambda: any("not reachable" in entry["event"] for entry in logs))
        await link.close()
    return str(next(entry["error"] for entry in logs if "not reachable" in entry["event"]))


async def said_of_database(port: int, tls: ServerTls) -> str:
    """Return what the database logs that cannot connect."""
    database = Database(f"mongodb://127.0.0.1:{port}/none", tls=tls)
    with capture_logs() as logs:
        preparing = asyncio.create_task(database.prepare())
        await until(lambda: any("not ready" in entry["event"] for entry in logs))
        preparing.cancel()
        await asyncio.gather(preparing, return_exceptions=True)
        await database.close()
    return str(next(entry["error"] for entry in logs if "not ready" in entry["event"]))


@pytest.mark.parametrize("server", ["AMQP", "MONGODB"])
async def test_server_that_another_authority_signed_is_refused_with_what_to_do(
    authority: Authority, tmp_path: Path, server: str
) -> None:
    said = said_of_broker if server == "AMQP" else said_of_database
    async with listening(self_signed(tmp_path / "other.pem", "127.0.0.1").context()) as port:
        text = await said(port, ServerTls(authority.file))
    assert text.endswith(
        f"(the server's certificate was not signed by the CA in POSTROAD_{server}_CA)"
    )


@pytest.mark.parametrize("server", ["AMQP", "MONGODB"])
async def test_server_with_a_certificate_for_another_name_is_refused(
    authority: Authority, server: str
) -> None:
    said = said_of_broker if server == "AMQP" else said_of_database
    async with listening(authority.issue("broker.test").context()) as port:
        text = await said(port, ServerTls(authority.file))
    assert text.endswith("(the server's certificate is for another name than the one in the URL)")


def test_what_is_no_trouble_with_certificates_is_left_as_it_is() -> None:
    assert explain_tls("Connection refused", "POSTROAD_AMQP") == ""
    assert "POSTROAD_AMQP_CERT" in explain_tls("TLSV13_ALERT_CERTIFICATE_REQUIRED", "POSTROAD_AMQP")
    assert "does not trust" in explain_tls("TLSV1_ALERT_UNKNOWN_CA", "POSTROAD_MONGODB")
