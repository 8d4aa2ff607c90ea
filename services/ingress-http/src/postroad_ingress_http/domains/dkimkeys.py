"""New DKIM key pairs: RSA-2048 for everybody, Ed25519 for those who can (RFC 8463).

The library is imported with the first pair: most processes never make one.
"""

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from postroad_common.store.domains import DkimKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

RSA_BITS = 2048  # what fits a DNS answer and every verifier takes (RFC 8301)


def new_keys(now: float, taken: frozenset[str] = frozenset()) -> tuple[DkimKey, DkimKey]:
    """Return an RSA and an Ed25519 key whose selectors are not in `taken`.

    Takes some 100 ms of CPU: call it in a thread.
    """
    from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415 - see the module
        ed25519,
        rsa,
    )

    stem = f"pr{datetime.fromtimestamp(now, UTC):%Y%m%d}"
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    suffix = ""
    while {f"{stem}{suffix}r", f"{stem}{suffix}e"} & taken:
        suffix = next(letters, suffix + "x")
    return (
        _key(f"{stem}{suffix}r", "rsa", rsa.generate_private_key(65537, RSA_BITS), now),
        _key(f"{stem}{suffix}e", "ed25519", ed25519.Ed25519PrivateKey.generate(), now),
    )


def _key(
    selector: str,
    algorithm: str,
    private: "RSAPrivateKey | Ed25519PrivateKey",
    now: float,
) -> DkimKey:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - see the module
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    if algorithm == "rsa":
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return DkimKey(
        selector=selector,
        algorithm=algorithm,
        public=base64.b64encode(public).decode("ascii"),
        created=now,
        private=pem.decode("ascii"),
    )
