"""DKIM signatures (RFC 6376, RFC 8463): relaxed/relaxed, RSA-SHA256 and Ed25519-SHA256.

What is the same for every recipient is canonicalised and hashed once: `BodyHash` keeps the state
of SHA-256 up to the first hole, `HeaderHash` the canonical header. A signature then costs one
pass over the rest and the private-key operation. Key objects are made by `load_key` and kept by
the caller, because loading one costs a hundred signatures.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from postroad_transformer.segments import Hole
from postroad_transformer.transfer import Chunk

PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey

# Signed in every instance that is there (RFC 6376 section 5.4.1, and RFC 8058 section 4).
_SIGNED = (  # noqa: SIM905 - a list of words
    "from sender reply-to to cc subject date message-id in-reply-to references mime-version "
    "content-type content-transfer-encoding content-id content-description list-id list-help "
    "list-unsubscribe list-unsubscribe-post list-subscribe list-post list-owner list-archive "
    "resent-from resent-sender resent-to resent-cc resent-date resent-message-id feedback-id "
    "auto-submitted precedence"
).split()
# Signed once more than they are there, so that none can be added (RFC 6376 section 8.15).
_OVERSIGNED = frozenset(
    "from sender reply-to to cc subject date message-id mime-version content-type "  # noqa: SIM905 - as above
    "content-transfer-encoding list-unsubscribe list-unsubscribe-post".split()
)
_MIN_RSA_BITS = 1024  # RFC 8301 wants 1024 at least to sign, and 2048 to be sensible
_WSP = re.compile(rb"[ \t]{2,}|\t")
_HEADER_WSP = re.compile(rb"[ \t\r\n]+")
_SLICE = 1 << 20  # octets canonicalised at a time: bounds the copies of a large body
_B_LINE = 72


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


def _relaxed_lines(octets: bytes) -> bytes:
    """`octets` with white space reduced (RFC 6376 section 3.4.4 a), of whole or cut lines."""
    if b"\t" in octets or b"  " in octets:
        octets = _WSP.sub(b" ", octets)
    return octets.replace(b" \r\n", b"\r\n") if b" \r\n" in octets else octets


class BodyHash:
    """The body hash of a body with holes, by the relaxed algorithm.

    A hole stands between characters that are no white space, so that the chunks can be
    canonicalised one by one.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        state = hashlib.sha256()
        between: list[list[bytes]] = []  # what follows each hole
        for chunk in _canonical(chunks):
            if isinstance(chunk, Hole):
                between.append([])
            elif between:
                between[-1].append(chunk)
            else:
                state.update(chunk)
        self._state = state
        self._between = [b"".join(pieces) for pieces in between]

    def digest(self, fills: Sequence[bytes] = ()) -> bytes:
        """SHA-256 of the canonical body whose holes are filled with `fills`, in order."""
        state = self._state.copy()
        if fills:
            pairs = zip(fills, self._between, strict=True)
            state.update(b"".join([piece for pair in pairs for piece in pair]))
        return state.digest()


def _canonical(chunks: Sequence[Chunk]) -> list[Chunk]:
    statics = [chunk for chunk in chunks[0::2] if isinstance(chunk, bytes)]
    holes = [chunk for chunk in chunks[1::2] if isinstance(chunk, Hole)]
    if 0 < len(holes) == len(statics) - 1 and len(statics) + len(holes) == len(chunks):
        # In turn, as a template has them: many short chunks are better looked at in one.
        joined = b"\0".join(statics)
        if len(joined) < _SLICE and joined.count(b"\0") == len(holes):
            whole = b"".join([part for part in _canonical([joined]) if isinstance(part, bytes)])
            in_turn: list[Chunk] = [b""] * len(chunks)
            in_turn[0::2] = whole.split(b"\0")
            in_turn[1::2] = holes
            return in_turn
    canonical: list[Chunk] = []
    for chunk in _with_line_end(chunks):
        if isinstance(chunk, Hole):
            canonical.append(chunk)
            continue
        start = 0
        while start < len(chunk):
            stop = start + _SLICE
            if stop < len(chunk):  # cut behind a line, or white space might lie on both sides
                line_end = chunk.find(b"\r\n", stop)
                stop = line_end + 2 if line_end >= 0 else len(chunk)
            canonical.append(_relaxed_lines(chunk[start:stop]))
            start = stop
    while canonical:  # the empty lines at the end do not count (3.4.4 b)
        last = canonical[-1]
        if isinstance(last, Hole):
            canonical.append(b"\r\n")
            break
        stripped = last.rstrip(b"\r\n")
        if stripped:
            canonical[-1] = stripped + b"\r\n"
            break
        canonical.pop()
    return canonical


def _with_line_end(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    """Return the body as SMTP carries it: its last line ends in CRLF."""
    last = chunks[-1]
    if isinstance(last, Hole) or last.endswith(b"\r\n") or not last:
        return chunks
    return [*chunks[:-1], last + b"\r\n"]


def relaxed_field(header_field: bytes) -> bytes:
    """`header_field` in relaxed form (RFC 6376 section 3.4.2), with its CRLF."""
    name, _, value = header_field.partition(b":")
    return name.strip().lower() + b":" + _HEADER_WSP.sub(b" ", value).strip() + b"\r\n"


class HeaderHash:
    """The header of one message as signatures see it. `fields` are whole fields in order."""

    def __init__(self, fields: Sequence[bytes]) -> None:
        by_name: dict[str, list[bytes]] = {}
        for header_field in fields:
            name = header_field.partition(b":")[0].strip().lower().decode("latin-1")
            by_name.setdefault(name, []).append(header_field)
        names: list[str] = []
        pieces: list[bytes] = []
        for name in _SIGNED:
            instances = by_name.get(name, [])
            pieces += [relaxed_field(instance) for instance in reversed(instances)]
            names += [name] * (len(instances) + (name in _OVERSIGNED))
        self.names = names
        self.state = hashlib.sha256(b"".join(pieces))


class Signature:
    """One key's DKIM-Signature on messages that share a header; `time` is Unix seconds."""

    def __init__(self, key: SigningKey, header: HeaderHash, time: float) -> None:
        self._key = key
        names = _folded(header.names)
        self._wire = (
            f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};\r\n"
            f"\ts={key.selector}; t={int(time)};\r\n\th={names};\r\n\tbh="
        ).encode("ascii")
        self._state = header.state.copy()
        self._state.update(relaxed_field(self._wire)[:-2])

    def field(self, body_digest: bytes) -> bytes:
        """Return the whole header field for the body with that hash."""
        bh = base64.b64encode(body_digest)
        state = self._state.copy()
        state.update(bh + b"; b=")
        b = base64.b64encode(self._key.sign(state.digest()))
        lines = [b[at : at + _B_LINE] for at in range(0, len(b), _B_LINE)]
        return b"".join((self._wire, bh, b";\r\n\tb=", b"\r\n\t".join(lines), b"\r\n"))


def _folded(names: Sequence[str]) -> str:
    """Return the `h=` tag, folded before its lines grow long."""
    lines = [""]
    for index, name in enumerate(names):
        item = name if index == len(names) - 1 else name + ":"
        if len(lines[-1]) + len(item) > _B_LINE:
            lines.append("")
        lines[-1] += item
    return "\r\n\t".join(lines)
