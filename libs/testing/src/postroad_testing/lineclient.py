"""A client that speaks SMTP line by line on a blocking socket."""

import select
import socket
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from postroad_testing.waiting import PATIENCE

_OCTETS = 65_536


class LineClient:
    """One connection. Replies are read whole, and their last line is checked.

    Args:
        port: of the server, on loopback.
        ca: the authority that signed the server's certificate; None believes any.
        source: the address to come from.
        tls: whether the connection begins with the handshake.
    """

    def __init__(
        self,
        port: int,
        ca: Path | None = None,
        *,
        source: str = "127.0.0.1",
        tls: bool = False,
    ) -> None:
        self._ca = ca
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0)
        )
        self.unread = b""
        if tls:
            self.start_tls()

    def start_tls(self, minimum: ssl.TLSVersion | None = None, ciphers: str = "") -> None:
        """Do the TLS handshake, with exactly the version `minimum` if it is given.

        `ciphers` are those offered up to TLS 1.2, in OpenSSL's words.
        """
        context = ssl.create_default_context(cafile=self._ca and str(self._ca))
        if self._ca is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if minimum is not None:
            context.minimum_version = context.maximum_version = minimum
        if ciphers:
            context.set_ciphers(ciphers)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, octets: bytes) -> None:
        """Send octets as they are."""
        self.socket.sendall(octets)

    def line(self) -> str:
        """Return the next line without CRLF; empty when the server has closed."""
        while b"\r\n" not in self.unread:
            octets = self._receive()
            if not octets:
                if self.unread:
                    raise AssertionError(f"cut off: {self.unread!r}")
                return ""
            self.unread += octets
        line, _, self.unread = self.unread.partition(b"\r\n")
        return line.decode()

    def reply(self) -> list[str]:
        """Return the lines of the next reply."""
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return lines

    def expect(self, prefix: str) -> list[str]:
        """Return the lines of the next reply, whose last one must start with `prefix`."""
        lines = self.reply()
        if not lines[-1].startswith(prefix):
            raise AssertionError(f"expected {prefix!r}, got {lines}")
        return lines

    def ask(self, command: str, prefix: str) -> list[str]:
        """Send a line and return its reply, whose last line must start with `prefix`."""
        self.send(command.encode() + b"\r\n")
        return self.expect(prefix)

    def expect_close(self) -> None:
        """Wait until the server closes without another word."""
        line = self.line()
        if line:
            raise AssertionError(f"expected the end, got {line!r}")

    def repeat(self, octets: bytes, pause: float) -> None:
        """Send `octets` again and again, `pause` seconds apart, until the server says 421."""
        deadline = time.monotonic() + PATIENCE
        while b"421 " not in self.unread:
            if time.monotonic() > deadline:
                raise AssertionError("the server takes everything")
            try:
                self.send(octets)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                break
            pending = self.socket.pending() if isinstance(self.socket, ssl.SSLSocket) else 0
            if pending or select.select([self.socket], [], [], pause)[0]:
                self.unread += self._receive()

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(_OCTETS)
        except (ConnectionResetError, ssl.SSLEOFError):
            return b""

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def __enter__(self) -> Self:
        """Return the client, which is connected."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
