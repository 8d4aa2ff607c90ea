"""The listeners' certificate: loaded at start, and again when its files change."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509

from postroad_ingress_smtp import metrics

CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL"
"""Of TLS 1.2: forward secret and authenticated, no CBC (RFC 9325 section 4.2)."""

_log = structlog.get_logger(__name__)


class Certificate:
    """A TLS context (1.2 and later) that follows the files it was made of."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load both files.

        Raises:
            OSError: one cannot be read.
            ssl.SSLError: they are no certificate and key, or do not belong together.
        """
        self._files = (certificate, key)
        self._stamp = self._look()
        self.context = self._load()
        """For new handshakes; connections that stand keep theirs."""

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        stats = [file.stat() for file in self._files]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.load_cert_chain(*self._files)
        metrics.CERTIFICATE_ENDS.set(_expiry(self._files[0]).timestamp())
        return context

    def reload(self) -> bool:
        """Load the files again if they changed; whether that gave a new context.

        Files that cannot be used are logged and the old context stays: a renewal that writes one
        file before the other is whole a moment later.
        """
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return False
            context = self._load()
        except (OSError, ssl.SSLError) as error:
            _log.error("new certificate cannot be used", error=str(error))
            return False
        self._stamp, self.context = stamp, context
        _log.info("certificate loaded again", file=str(self._files[0]))
        return True

    async def watch(self, seconds: float) -> None:
        """Look for changes every `seconds`, for ever."""
        while True:
            await asyncio.sleep(seconds)
            self.reload()


def _expiry(file: Path) -> datetime:
    """Return when the first certificate in `file` ends; the epoch for one that cannot be read."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
