"""The sink's certificate: the one it was given, or one that it makes for itself at each start."""

import datetime as dt
import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE = dt.timedelta(days=397)
_SKEW = dt.timedelta(hours=1)


def server_context(
    certificate: Path | None, key: Path | None, names: Sequence[str]
) -> ssl.SSLContext:
    """Return what STARTTLS uses; without `certificate` a self-signed one for `names` is made.

    Raises:
        OSError: a file cannot be read, or they do not fit together (`ssl.SSLError`).
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    else:
        with tempfile.NamedTemporaryFile(prefix="postroad-sink-", suffix=".pem") as file:
            file.write(_self_signed(names))
            file.flush()
            context.load_cert_chain(file.name)
    context.sni_callback = _note_name
    return context


def _self_signed(names: Sequence[str]) -> bytes:
    """Return a new key and its certificate as PEM; nobody vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = (
        builder.not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(list(map(_alternative, names))), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _note_name(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    connection.requested_name = name  # type: ignore[attr-defined]  # read by requested_name below


def requested_name(connection: ssl.SSLObject) -> str | None:
    """Return the host name that the client asked for (SNI), None if it asked for none."""
    name = getattr(connection, "requested_name", None)
    return name if isinstance(name, str) else None
