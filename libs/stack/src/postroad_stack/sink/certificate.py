"""The sink's certificate: the one it was given, or one that it makes for itself at each start."""

import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

from postroad_stack.certificates import ensure_certificates


def server_context(
    certificate: Path | None, key: Path | None, names: Sequence[str]
) -> ssl.SSLContext:
    """What STARTTLS uses; without `certificate`, one for `names` is made that nobody vouches for.

    Raises:
        OSError: a file cannot be read, or they do not fit together (`ssl.SSLError`).
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    else:
        with tempfile.TemporaryDirectory(prefix="postroad-sink-") as folder:
            made = ensure_certificates(Path(folder), names)
            context.load_cert_chain(made.certificate, made.key)
    context.sni_callback = _note_name
    return context


def _note_name(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    connection.requested_name = name  # type: ignore[attr-defined]  # read by requested_name below


def requested_name(connection: ssl.SSLObject) -> str | None:
    """The host name that the client asked for (SNI), None if it asked for none."""
    name = getattr(connection, "requested_name", None)
    return name if isinstance(name, str) else None
