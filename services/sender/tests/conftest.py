"""A scripted SMTP server: plays a dialog on loopback and checks what the client says."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
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

    async def __aenter__(self) -> Self:
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
        async with asyncio.timeout(90):
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


class NameServer(asyncio.DatagramProtocol):
    """Answers from `zone`: (name, type) to records, or to an rcode, or to None for silence.

    Answers about names that end in one of `signed`, and in none of `unsigned`, are marked as
    authentic, if that is asked for.
    """

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], list[str] | str | None] = {}
        self.asked: list[tuple[str, str]] = []
        self.address = ""
        self.signed: tuple[str, ...] = ()
        self.unsigned: tuple[str, ...] = ()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.address = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        signed = name.endswith(self.signed) and not name.endswith(self.unsigned)
        if query.flags & dns.flags.AD and signed:
            answer.flags |= dns.flags.AD
        found = self.zone.get((name, kind), self.zone.get((name, "*"), []))
        if found is None:
            return
        if isinstance(found, str):
            answer.set_rcode(dns.rcode.from_text(found))
        elif not found and not any(known == name for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        for text in found if isinstance(found, list) else []:
            record, _, value = text.rpartition("|")
            answer.answer.append(
                dns.rrset.from_text(record or f"{name}.", 60, "IN", kind, value)
                if not value.startswith("CNAME ")
                else dns.rrset.from_text(
                    f"{name}.", 60, "IN", "CNAME", value.removeprefix("CNAME ")
                )
            )
        self.transport.sendto(answer.to_wire(), addr)


@pytest.fixture
async def name_server() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    yield server
    transport.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a self-signed certificate and key for 127.0.0.1 and localhost, as one PEM file."""
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


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, in a PEM file that also has the `others` of its chain."""

    certificate: x509.Certificate
    path: Path
    others: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> list[bytes]:
        """As a server presents it: DER, its own certificate first."""
        chain = (self.certificate, *self.others)
        return [one.public_bytes(serialization.Encoding.DER) for one in chain]

    def context(self) -> ssl.SSLContext:
        """For a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context


class Authority:
    """A certificate authority of the tests: a root that signs for an authority that signs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._under = ec.generate_private_key(ec.SECP256R1())
        self.root = self._sign("root", self._key, "root", self._key, ca=True)
        self.between = self._sign("between", self._under, "root", self._key, ca=True)
        self.file = folder / "root.pem"
        self.file.write_bytes(self.root.public_bytes(serialization.Encoding.PEM))

    def trusting(self) -> ssl.SSLContext:
        """For a client that believes this authority and no other."""
        context = ssl.create_default_context(cafile=str(self.file))
        context.hostname_checks_common_name = False
        return context

    def issue(
        self, *names: str, days: int = 1, common: str = "server", with_root: bool = False
    ) -> Issued:
        """Return a certificate for `names` that ends in `days`; below zero it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(common, key, "between", self._under, names=names, days=days)
        others = (self.between, self.root) if with_root else (self.between,)
        self._count += 1
        path = self._folder / f"{self._count}.pem"
        octets = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for one in (made, *others):
            octets += one.public_bytes(serialization.Encoding.PEM)
        path.write_bytes(octets)
        return Issued(made, path, others)

    def _sign(
        self,
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        by: ec.EllipticCurvePrivateKey,
        *,
        names: tuple[str, ...] = (),
        days: int = 1,
        ca: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
            )
        )
        if names:
            san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(san, critical=False)
        return builder.sign(by, hashes.SHA256())


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests: keys take time."""
    return Authority(tmp_path_factory.mktemp("authority"))


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


class Sink:
    """A receiving server that does as told and remembers what it took.

    `refuse` maps the start of a recipient address to replies given to its RCPT, one after the
    other; the last repeats. `gate` holds back the reply to the final dot while it is closed, and
    `pause` for some seconds. `most_open` and `most_owners` are the most connections, and
    by their names in EHLO, that there were at the same time.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], bytes]] = []
        self.refuse: dict[str, list[str]] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.dsn = False
        self.tls: ssl.SSLContext | None = None
        self.requiretls = False
        self.commands: list[str] = []  # of MAIL, with "TLS " before those that were protected
        self.most_connections = 1000
        self.open = 0
        self.connections = 0
        self.refused = 0
        self.pause = 0.0
        self.most_open = 0
        self.most_owners = 0
        self._clients: dict[asyncio.Task[None], tuple[str, asyncio.StreamReader]] = {}
        self.host = "127.0.0.1"
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def recipients(self) -> list[str]:
        """Every address a message was taken for, in order."""
        return [address for _, addresses, _ in self.taken for address in addresses]

    def owners(self) -> set[str]:
        """Return the clients that are connected now, by their names in EHLO."""
        return {name for name, reader in self._clients.values() if not reader.at_eof()}

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, limit=67_108_864
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and drop those that are open."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if self.open > self.most_connections:
                self.refused += 1
                writer.write(b"421 4.7.0 too many connections\r\n")
                await writer.drain()
            else:
                writer.write(b"220 sink.test\r\n")
                await self._talk(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._clients.pop(task, None)
            writer.close()

    def _greet(self, name: str, reader: asyncio.StreamReader) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = (name, reader)
        self.most_owners = max(self.most_owners, len(self.owners()))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, recipients = "", []
        secure = False
        while True:
            line = (await reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")
            match line[:4].upper():
                case "EHLO":
                    self._greet(line[5:], reader)
                    offered = ["sink.test", "PIPELINING", "8BITMIME", "SIZE 99999999"]
                    offered += ["DSN"] if self.dsn else []
                    offered += ["STARTTLS"] if self.tls is not None and not secure else []
                    offered += ["REQUIRETLS"] if self.requiretls and secure else []
                    lines = [f"250-{word}\r\n" for word in offered[:-1]]
                    writer.write("".join([*lines, f"250 {offered[-1]}\r\n"]).encode())
                case "STAR" if self.tls is not None:
                    writer.write(b"220 2.0.0 go\r\n")
                    await writer.start_tls(self.tls)
                    secure = True
                case "MAIL":
                    self.commands.append(f"TLS {line}" if secure else line)
                    sender, recipients = line.partition("<")[2].partition(">")[0], []
                    writer.write(b"250 2.1.0 ok\r\n")
                case "RCPT":
                    address = line.partition("<")[2].partition(">")[0]
                    reply = self._reply_to(address)
                    if reply.startswith("250"):
                        recipients.append(address)
                    writer.write(f"{reply}\r\n".encode())
                case "DATA":
                    if not recipients:
                        writer.write(b"554 5.5.1 no recipients\r\n")
                        continue
                    writer.write(b"354 go\r\n")
                    data = await reader.readuntil(b"\r\n.\r\n")
                    await self.gate.wait()
                    if self.pause:
                        await asyncio.sleep(self.pause)
                    self.taken.append((sender, recipients, data[:-3]))
                    writer.write(b"250 2.0.0 queued\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                case _:
                    writer.write(b"250 ok\r\n")

    def _reply_to(self, address: str) -> str:
        for start, replies in self.refuse.items():
            if address.startswith(start):
                return replies.pop(0) if len(replies) > 1 else replies[0]
        return "250 2.1.5 ok"


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """Return a receiving server on loopback."""
    sink = Sink()
    await sink.start()
    yield sink
    await sink.stop()


@pytest.fixture
async def more_sinks() -> AsyncIterator[Callable[[], Awaitable[Sink]]]:
    """Further receiving servers."""
    async with AsyncExitStack() as stack:

        async def start() -> Sink:
            sink = Sink()
            await sink.start()
            stack.push_async_callback(sink.stop)
            return sink

        yield start
