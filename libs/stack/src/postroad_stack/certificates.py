"""The stack's own certificate authority and the certificate of its listeners."""

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from postroad_stack.state_dir import write_atomically

_CA_LIFE = dt.timedelta(days=3650)
_LEAF_LIFE = dt.timedelta(days=397)
_RENEW_BEFORE = dt.timedelta(days=30)
_SKEW = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form: the CA that clients trust, and the listeners' certificate and key."""

    ca: Path
    certificate: Path
    key: Path


def ensure_certificates(folder: Path, names: Sequence[str]) -> Certificates:
    """Make what is missing, for other names, or about to end; keep the rest.

    Args:
        folder: where the files are.
        names: host names and IP addresses that clients may use.
    """
    files = Certificates(folder / "ca.pem", folder / "listener.pem", folder / "listener.key")
    ca_key_file = folder / "ca.key"
    now = dt.datetime.now(dt.UTC)
    if not (files.ca.exists() and ca_key_file.exists()) or _ends_soon(files.ca, now):
        ca_key = ec.generate_private_key(ec.SECP256R1())
        _write_key(ca_key_file, ca_key)
        _write_certificate(files.ca, _authority(ca_key, now))
        files.certificate.unlink(missing_ok=True)
    if (
        not (files.certificate.exists() and files.key.exists())
        or _ends_soon(files.certificate, now)
        or set(_names_in(files.certificate)) != set(names)
    ):
        ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
        ca_key_loaded = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
        if not isinstance(ca_key_loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{ca_key_file} holds no EC key")
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(files.key, key)
        _write_certificate(files.certificate, _leaf(names, key, ca, ca_key_loaded, now))
    return files


def _authority(key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    # A random part in the name keeps the CAs of two stacks apart in one trust store.
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"Postroad local CA {os.urandom(4).hex()}")]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    names: Sequence[str],
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(key_cert_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def _usage(*, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names_in(certificate: Path) -> list[str]:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]


def _ends_soon(certificate: Path, now: dt.datetime) -> bool:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    return loaded.not_valid_after_utc - now < _RENEW_BEFORE


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_atomically(path, pem.decode())


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    write_atomically(path, certificate.public_bytes(serialization.Encoding.PEM).decode())
