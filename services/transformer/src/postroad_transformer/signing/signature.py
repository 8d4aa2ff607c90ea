"""One key's DKIM-Signature field.

What is the same for every recipient is canonicalised and hashed once: `body.BodyHash` keeps the
state of SHA-256 up to the first hole, `HeaderHash` the canonical header. A signature then costs
one pass over the rest and the private-key operation.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

from postroad_transformer.signing.keys import SigningKey

# Signed in every instance that is there (RFC 6376 section 5.4.1, and RFC 8058 section 4).
_NAMES = (  # noqa: SIM905 - a list of words
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
# In this order: by the name as it stands in the header, how it is named and what is signed besides.
_SIGNED = {name.encode("ascii"): (name, [name] if name in _OVERSIGNED else []) for name in _NAMES}
_HEADER_WSP = re.compile(rb"[ \t\r\n]+")
_B_LINE = 72
_REMEMBERED = 100  # fields; the order of more is found each time


def relax_field(header_field: bytes) -> bytes:
    """`header_field` in relaxed form (RFC 6376 section 3.4.2), with its CRLF."""
    name, _, value = header_field.partition(b":")
    return b"".join((name.strip().lower(), b":", _relax_value(value), b"\r\n"))


def _relax_value(value: bytes) -> bytes:
    value = value.strip()
    if b"\n" in value or b"  " in value or b"\t" in value or b"\r" in value:
        return _HEADER_WSP.sub(b" ", value).strip()
    return value


class HeaderHash:
    """The header of one message as signatures see it. `fields` are whole fields in order."""

    def __init__(self, fields: Sequence[bytes]) -> None:
        names: list[bytes] = []
        relaxed: list[bytes] = []
        for header_field in fields:
            name, _, value = header_field.partition(b":")
            name = name.strip().lower()
            if name in _SIGNED:
                names.append(name)
                relaxed.append(b"".join((name, b":", _relax_value(value), b"\r\n")))
        ordered = _order if len(names) < _REMEMBERED else _order.__wrapped__
        self.names, places = ordered(tuple(names))
        self.state = hashlib.sha256(b"".join([relaxed[at] for at in places]))


@lru_cache(256)
def _order(present: tuple[bytes, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return how the fields `present` are named in `h=`, and in which order they are hashed.

    Of several with one name the last comes first (RFC 6376 section 5.4.2). Most mails have the same
    fields.
    """
    places: dict[bytes, list[int]] = {}
    for at in range(len(present) - 1, -1, -1):
        places.setdefault(present[at], []).append(at)
    names: list[str] = []
    hashed: list[int] = []
    for octets, (signed, more) in _SIGNED.items():
        instances = places.get(octets, [])
        hashed += instances
        names += [signed] * len(instances) + more
    return tuple(names), tuple(hashed)


class Signature:
    """One key's DKIM-Signature on messages that share a header; `time` is Unix seconds."""

    def __init__(self, key: SigningKey, header: HeaderHash, time: float) -> None:
        self._key = key
        self._wire, relaxed = _begin(
            key.algorithm, key.domain, key.selector, int(time), header.names
        )
        self._state = header.state.copy()
        self._state.update(relaxed)

    def field(self, body_digest: bytes) -> bytes:
        """Return the whole header field for the body with that hash."""
        bh = base64.b64encode(body_digest)
        state = self._state.copy()
        state.update(bh + b"; b=")
        b = base64.b64encode(self._key.sign(state.digest()))
        lines = [b[at : at + _B_LINE] for at in range(0, len(b), _B_LINE)]
        return b"".join((self._wire, bh, b";\r\n\tb=", b"\r\n\t".join(lines), b"\r\n"))


@lru_cache(64)
def _begin(
    algorithm: str, domain: str, selector: str, second: int, names: tuple[str, ...]
) -> tuple[bytes, bytes]:
    """Return the field up to its body hash, and that relaxed; the mails of a second share it."""
    wire = (
        f"DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={domain};\r\n"
        f"\ts={selector}; t={second};\r\n\th={_fold(names)};\r\n\tbh="
    ).encode("ascii")
    return wire, relax_field(wire)[:-2]


@lru_cache(256)
def _fold(names: tuple[str, ...]) -> str:
    """Return the `h=` tag, folded before its lines grow long."""
    lines = [""]
    for index, name in enumerate(names):
        item = name if index == len(names) - 1 else name + ":"
        if len(lines[-1]) + len(item) > _B_LINE:
            lines.append("")
        lines[-1] += item
    return "\r\n\t".join(lines)
