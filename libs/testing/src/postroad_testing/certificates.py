"""A certificate authority for the servers of tests, and what it signs."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_BACKDATED = timedelta(days=9)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, in a PEM file that also has the `others` of its chain."""

    certificate: x509.Certificate
    path: Path
    others: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> list[bytes]:
        """The chain as a server presents it: DER, its own certificate first."""
        chain = (self.certificate, *self.others)
        return [one.public_bytes(Encoding.DER) for one in chain]

    def context(self) -> ssl.SSLContext:
        """Return the context of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context


@dataclass(frozen=True)
class _Signer:
    name: str
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, name: str) -> "_Signer":
        return cls(name, ec.generate_private_key(ec.SECP256R1()))


class Authority:
    """A root that signs for an authority that signs; `file` is what a client trusts, as PEM.

    Keys take time, so one may serve all tests of a process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._root = _Signer.new("root")
        self._between = _Signer.new("between")
        self.root = _sign(self._root, self._root, ca=True)
        self.between = _sign(self._between, self._root, ca=True)
        self.file = folder / "root.pem"
        self.file.write_bytes(self.root.public_bytes(Encoding.PEM))

    def trusting(self) -> ssl.SSLContext:
        """Return the context of a client that believes this authority and no other."""
        context = ssl.create_default_context(cafile=str(self.file))
        context.hostname_checks_common_name = False
        return context

    def issue(
        self, *names: str, days: int = 1, common: str = "server", with_root: bool = False
    ) -> Issued:
        """Return a certificate for `names` that ends in `days`; below zero it has expired.

        A name that is an IP address is one in the certificate.
        """
        subject = _Signer.new(common)
        made = _sign(subject, self._between, names=names, days=days)
        others = (self.between, self.root) if with_root else (self.between,)
        return self._kept(subject, made, others)

    def issue_through(self, *names: str, may_sign: bool) -> Issued:
        """Return a certificate that one of this authority signed, which `may_sign` or may not."""
        parent, child = _Signer.new("parent"), _Signer.new("child")
        signed = _sign(parent, self._between, ca=may_sign)
        return self._kept(child, _sign(child, parent, names=names), (signed, self.between))

    def _kept(
        self, subject: _Signer, made: x509.Certificate, others: tuple[x509.Certificate, ...]
    ) -> Issued:
        self._count += 1
        path = self._folder / f"{self._count}.pem"
        _write(path, subject, made, *others)
        return Issued(made, path, others)


def self_signed(path: Path, name: str = "localhost") -> Issued:
    """Return a certificate for `name` that nobody vouches for, written to `path`."""
    subject = _Signer.new(name)
    made = _sign(subject, subject, names=(name,))
    _write(path, subject, made)
    return Issued(made, path)


def _write(path: Path, subject: _Signer, *certificates: x509.Certificate) -> None:
    key = subject.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key + b"".join(one.public_bytes(Encoding.PEM) for one in certificates))


def _sign(
    subject: _Signer,
    by: _Signer,
    *,
    names: tuple[str, ...] = (),
    days: int = 1,
    ca: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    key, issuer = subject.key.public_key(), by.key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_common_name(subject.name))
        .issuer_name(_common_name(by.name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(by.key, hashes.SHA256())


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
