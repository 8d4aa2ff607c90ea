"""A scripted SMTP server: plays a dialog on loopback and checks what the client says."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Dialog:
    """One server and the dialog it plays with each client, each line of it checked.

    `S: text` sends a line. `C: text` expects one (`*` matches anything). `S: [close]`, `[reset]`,
    `[starttls]`, `[silence]` do that; `C: [message]` reads a message up to its final dot;
    `C: [gone]` expects the client to close. `S+ text` is sent together with the line before.
    """

    def __init__(self, text: str, context: ssl.SSLContext) -> None:
        self.steps = [line.strip() for line in text.strip().splitlines() if line.strip()]
        self.context = context
        self.messages: list[bytes] = []
        self.reads: list[bytes] = []
        self.mismatches: list[str] = []
        self.connections = 0
        self.port = 0
        self.done = asyncio.Event()
        self._stop = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Dialog":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop.set()
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self.mismatches, self.mismatches

    async def finished(self) -> None:
        """Wait until one client has played the dialog to its end."""
        async with asyncio.timeout(5):
            await self.done.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            for number, step in enumerate(self.steps):
                follows = self.steps[number + 1 : number + 2]
                if not await self._play(step, reader, writer, follows):
                    break
            self.done.set()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.mismatches.append(f"client went away: {error!r}")
        except asyncio.CancelledError:
            return  # the test is over
        finally:
            writer.close()

    async def _play(
        self,
        step: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        follows: list[str],
    ) -> bool:
        kind, _, text = step.partition(" ")
        match kind, text:
            case "S:", "[close]":
                return False
            case "S:", "[reset]":
                writer.transport.abort()
                return False
            case "S:", "[silence]":
                await self._stop.wait()
            case "S:", "[starttls]":
                try:
                    await writer.start_tls(self.context)
                except (ssl.SSLError, ConnectionError):
                    return False  # the client did not like the certificate
            case (("S:" | "S+"), _):
                writer.write(text.encode("latin-1").decode("unicode_escape").encode("latin-1"))
                writer.write(b"\r\n")
                if not (follows and follows[0].startswith("S+")):
                    await writer.drain()
            case "C:", "[message]":
                self.messages.append(await reader.readuntil(b"\r\n.\r\n"))
            case "C:", "[lone dot]":
                self._expect(".", (await reader.readuntil(b"\r\n")).decode())
            case "C:", "[gone]":
                rest = await reader.read(100)
                if rest:
                    self.mismatches.append(f"expected the end, got {rest!r}")
            case "C:", _:
                self._expect(text, (await reader.readuntil(b"\r\n")).decode())
            case _:
                raise AssertionError(step)
        return True

    def _expect(self, pattern: str, line: str) -> None:
        regex = re.escape(pattern).replace(r"\*", ".*")
        if not re.fullmatch(regex, line.removesuffix("\r\n")):
            self.mismatches.append(f"expected {pattern!r}, got {line!r}")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate and key for 127.0.0.1 and localhost, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
async def dialog(
    server_tls: ssl.SSLContext,
) -> AsyncIterator[Callable[[str], Awaitable[Dialog]]]:
    """Start a server that plays the given dialog; mismatches fail the test."""
    async with AsyncExitStack() as stack:

        async def start(text: str) -> Dialog:
            return await stack.enter_async_context(Dialog(text, server_tls))

        yield start
