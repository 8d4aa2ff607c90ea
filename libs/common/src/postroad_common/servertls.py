"""TLS to the broker and the database: whom to trust, and the certificate to show them."""

import contextlib
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM files: the CA that signed the server's certificate; our certificate, and its key.

    The key may be in the file of the certificate. What is None is left to the system's CAs, or not
    shown.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __bool__(self) -> bool:
        """Whether anything was chosen."""
        return bool(self.ca or self.certificate)

    def context(self) -> ssl.SSLContext:
        """Return a context made of the files as they are now.

        Raises:
            OSError: a file cannot be read or used; ssl.SSLError is one.
        """
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        return context

    @contextlib.contextmanager
    def mongodb_options(self) -> Iterator[Mapping[str, Any]]:
        """Yield the options of a client, which reads the files while it is made."""
        options: dict[str, Any] = {"tls": True} if self else {}
        if self.ca is not None:
            options["tlsCAFile"] = str(self.ca)
        with contextlib.ExitStack() as stack:
            if self.certificate is not None:
                options["tlsCertificateKeyFile"] = stack.enter_context(self._in_one_file())
            yield options

    @contextlib.contextmanager
    def _in_one_file(self) -> Iterator[str]:
        """Yield the name of a file with certificate and key, as the driver wants it."""
        if self.certificate is None or self.key is None:
            yield str(self.certificate)
            return
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # for its owner only
            file.write(self.certificate.read_bytes() + b"\n" + self.key.read_bytes())
            file.flush()
            yield file.name


def explain_tls(text: str, setting: str) -> str:
    """Return what to do about a failed handshake, to be put after its `text`; else nothing.

    Args:
        text: what the driver says.
        setting: `POSTROAD_AMQP` or `POSTROAD_MONGODB`.
    """
    if "CERTIFICATE_VERIFY_FAILED" in text:
        if "IP address mismatch" in text or "Hostname mismatch" in text:
            return " (the server's certificate is for another name than the one in the URL)"
        return f" (the server's certificate was not signed by the CA in {setting}_CA)"
    if any(alert in text for alert in ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")):
        return f" (the server asks for a client's certificate: {setting}_CERT and {setting}_KEY)"
    if any(alert in text for alert in ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN")):
        return f" (the server does not trust our certificate, {setting}_CERT)"
    return ""


def _no_password() -> str:
    """Refuse an encrypted key, instead of asking at a terminal that nobody sits at."""
    raise OSError("the key is encrypted; it has to be in the clear")
