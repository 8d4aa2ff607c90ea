"""Private keys that sign. Loading one costs a hundred signatures, so the caller keeps it."""

from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey
_MIN_RSA_BITS = 1024  # RFC 8301 wants 1024 at least to sign, and 2048 to be sensible


class KeyUnusable(ValueError):  # noqa: N818 - says what the key is
    """The stored private key cannot sign; the message says why and holds nothing secret."""


def load_key(pem: str) -> PrivateKey:
    """Return the private key in `pem` (PKCS#8 or PKCS#1, not encrypted).

    Raises:
        KeyUnusable: it is neither RSA of 1024 bits at least nor Ed25519.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("the DKIM key cannot be read") from error
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
        return key
    raise KeyUnusable("the DKIM key is neither Ed25519 nor RSA of at least 1024 bits")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A loaded key and where its public half is published: `selector._domainkey.domain`."""

    domain: str
    selector: str
    key: PrivateKey = field(repr=False)

    @property
    def algorithm(self) -> str:
        """The `a=` tag."""
        return "rsa-sha256" if isinstance(self.key, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, digest: bytes) -> bytes:
        """Return the signature of a SHA-256 digest."""
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(digest, PKCS1v15(), Prehashed(SHA256()))
        return self.key.sign(digest)  # RFC 8463 section 3: pure Ed25519 over the digest
