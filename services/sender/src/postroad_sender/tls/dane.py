"""DANE for SMTP: whether what a server presented fits its TLSA records (RFC 6698, 7671, 7672).

Pure, but for taking the presented chain out of a TLS connection. Looking the records up is in
`records`; what follows for a connection is in `requirement`.
"""

import hashlib
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

DANE_TA, DANE_EE = 2, 3
_CERTIFICATE, _KEY = 0, 1
_WHOLE = 0
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}
MOST_CERTIFICATES = 10  # of a chain
_BAD = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm)
_DER = 2  # `_ssl.ENCODING_DER`


class DaneError(Exception):
    """The server is not who its TLSA records say; the message tells why."""


@dataclass(frozen=True, slots=True)
class TlsaRecord:
    """One TLSA record (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching}"

    @property
    def is_usable(self) -> bool:
        """Whether SMTP can use it: usages 2 and 3 only (RFC 7672 section 3.1)."""
        if self.usage not in {DANE_TA, DANE_EE} or self.selector not in {_CERTIFICATE, _KEY}:
            return False
        if self.matching == _WHOLE:
            return bool(self.data)
        digest = _DIGESTS.get(self.matching)
        return digest is not None and len(self.data) == digest().digest_size

    def fits(self, certificate: x509.Certificate) -> bool:
        """Whether it speaks of `certificate` or its key."""
        selected = (
            certificate.public_bytes(Encoding.DER)
            if self.selector == _CERTIFICATE
            else certificate.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
        )
        if self.matching == _WHOLE:
            return selected == self.data
        return _DIGESTS[self.matching](selected).digest() == self.data


@dataclass(frozen=True, slots=True)
class TlsaMatch:
    """The record that fits. `name`: the one the certificate is good for; empty for DANE-EE."""

    record: TlsaRecord
    name: str


def usable(records: Iterable[TlsaRecord]) -> tuple[TlsaRecord, ...]:
    """Return the records that can be checked, without digests that a stronger one stands beside.

    The last is RFC 7671 section 9.
    """
    found = [record for record in records if record.is_usable]
    strongest: dict[tuple[int, int], int] = {}
    for record in found:
        kind = (record.usage, record.selector)
        strongest[kind] = max(strongest.get(kind, _WHOLE), record.matching)
    return tuple(
        record
        for record in found
        if record.matching in {_WHOLE, strongest[record.usage, record.selector]}
    )


def match(
    records: Sequence[TlsaRecord], chain: Sequence[bytes], names: Sequence[str], now: datetime
) -> TlsaMatch:
    """How the presented `chain` (DER, the server's own first) fits one of the usable `records`.

    DANE-EE asks for no name and no date; DANE-TA for a chain to the authority, for dates, and for
    one of `names` in the certificate (RFC 7672 section 3.1). `now` has a time zone.

    Raises:
        DaneError: it fits none.
    """
    certificates = []
    for der in chain[:MOST_CERTIFICATES]:
        try:
            certificates.append(x509.load_der_x509_certificate(der))
        except _BAD as error:
            raise DaneError(f"the certificate cannot be read: {type(error).__name__}") from error
    if not certificates:
        raise DaneError("the server presented no certificate")
    own = certificates[0]
    for record in records:
        if record.usage == DANE_EE and _fits(record, own):
            return TlsaMatch(record, "")
    authorities = [record for record in records if record.usage == DANE_TA]
    if not authorities:
        raise DaneError("the certificate fits no TLSA record")
    record = _authority(authorities, certificates, now)
    presented = names_of(own)
    for name in names:
        if any(_names(pattern, name.rstrip(".").lower()) for pattern in presented):
            return TlsaMatch(record, name.rstrip(".").lower())
    raise DaneError(f"the certificate is not for {' or '.join(names)}"[:300])


def _authority(
    records: Sequence[TlsaRecord], presented: Sequence[x509.Certificate], now: datetime
) -> TlsaRecord:
    """Return the record of an authority that signed, in steps or at once, for the first."""
    extra = [certificate for record in records if (certificate := _carried(record)) is not None]
    candidates = [*presented[1:], *extra]
    current = presented[0]
    _check_dates(current, now)
    for below in range(MOST_CERTIFICATES):
        issuer = next((one for one in candidates if _signed(current, one, below)), None)
        if issuer is None:
            break
        _check_dates(issuer, now)
        for record in records:
            if _fits(record, issuer):
                return record
        candidates.remove(issuer)
        current = issuer
    raise DaneError("no certificate of the chain fits a TLSA record")


def _carried(record: TlsaRecord) -> x509.Certificate | None:
    """Return the authority's certificate, where the record has the whole of it."""
    if record.matching != _WHOLE or record.selector != _CERTIFICATE:
        return None
    try:
        return x509.load_der_x509_certificate(record.data)
    except _BAD:
        return None


def _fits(record: TlsaRecord, certificate: x509.Certificate) -> bool:
    try:
        return record.fits(certificate)
    except _BAD:
        return False  # a kind of key that we do not know


def _signed(certificate: x509.Certificate, issuer: x509.Certificate, below: int) -> bool:
    """Whether `issuer` is an authority for `certificate`, with `below` others in between."""
    try:
        certificate.verify_directly_issued_by(issuer)
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not constraints.ca:
            return False
        if constraints.path_length is not None and constraints.path_length < below:
            return False
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        # without key usage it may sign; without basic constraints it may not
        return error.oid == x509.KeyUsage.oid
    except (*_BAD, x509.DuplicateExtension):
        return False
    return usage.key_cert_sign


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise DaneError("a certificate of the chain has expired or is not valid yet")


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names of a certificate in lower case, or without any its common name."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = found.value.get_values_for_type(x509.DNSName)
    except (*_BAD, x509.ExtensionNotFound, x509.DuplicateExtension):
        names = []
    if not names:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [str(attribute.value) for attribute in common[:1]]
    return [name.lower() for name in names]


def _names(pattern: str, name: str) -> bool:
    """Whether a certificate's name, perhaps with `*` as its first label, is that of `name`."""
    if pattern == name:
        return True
    first, _, parent = name.partition(".")
    return pattern.startswith("*.") and bool(first) and pattern[2:] == parent


def presented_chain(connection: ssl.SSLObject) -> list[bytes]:
    """Return what the server presented, checked or not: DER, its own certificate first."""
    public: Any = getattr(connection, "get_unverified_chain", None)
    if public is not None:  # Python 3.13
        return list(public())
    inner: Any = connection._sslobj  # type: ignore[attr-defined]  # noqa: SLF001 - 3.11, 3.12
    return [one.public_bytes(_DER) for one in inner.get_unverified_chain() or ()]
