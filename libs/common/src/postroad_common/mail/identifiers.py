"""Message identifiers: short, safe in URLs and local parts, sortable by time, unguessable.

An identifier is 21 characters of base32hex in lower case (RFC 4648 section 7): nine of time
(milliseconds since 1970, good until the year 3084) and twelve of randomness (60 bits). Lower case
only, because it becomes part of bounce addresses and mail systems may fold their case.
"""

import hashlib
import secrets
import time

ALPHABET = "0123456789abcdefghijklmnopqrstuv"
LENGTH = 21
TIME_CHARS = 9
_RANDOM_CHARS = LENGTH - TIME_CHARS
_VALUES = {char: value for value, char in enumerate(ALPHABET)}
_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)


def _encode(number: int, chars: int) -> str:
    """Return `number` in `chars` characters, most significant first."""
    width = chars + chars % 2
    pairs = [_PAIRS[(number >> shift) & 1023] for shift in range(5 * (width - 2), -1, -10)]
    return "".join(pairs)[-chars:]


def new_id(now: float | None = None) -> str:
    """Return a new identifier for the time `now` (Unix seconds; the present by default)."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    return _encode(milliseconds, TIME_CHARS) + _encode(
        secrets.randbits(5 * _RANDOM_CHARS), _RANDOM_CHARS
    )


def id_at(now: float) -> str:
    """Return what all identifiers of the time `now` (Unix seconds) and after are not less than."""
    return _encode(int(now * 1000), TIME_CHARS)


def derived_id(now: float, *origin: str) -> str:
    """Return the identifier that follows from `origin`, always the same one.

    For messages that Postroad writes itself (DSNs, forwards): when their cause is handled a second
    time after a crash, the second copy carries the same identifier and is recognised downstream.
    `now` must come from the cause, not from the clock.
    """
    digest = hashlib.blake2b("\0".join(origin).encode(), digest_size=8).digest()
    return _encode(int(now * 1000), TIME_CHARS) + _encode(
        int.from_bytes(digest, "big") >> 4, _RANDOM_CHARS
    )


def is_id(text: str) -> bool:
    """Whether `text` has the form of an identifier."""
    return len(text) == LENGTH and all(char in _VALUES for char in text)


def id_time(identifier: str) -> float:
    """Return the time (Unix seconds) at which `identifier` was made.

    Raises:
        ValueError: `identifier` is not one.
    """
    if not is_id(identifier):
        raise ValueError("not a message identifier")
    return int(identifier[:TIME_CHARS], 32) / 1000


def to_bytes(identifier: str) -> bytes:
    """Return the 14 octets of an identifier, for tokens.

    Raises:
        ValueError: `identifier` is not one.
    """
    if not is_id(identifier):
        raise ValueError("not a message identifier")
    return int(identifier, 32).to_bytes(14, "big")


def from_bytes(octets: bytes) -> str:
    """Undo `to_bytes`.

    Raises:
        ValueError: not 14 octets, or too large a number.
    """
    number = int.from_bytes(octets, "big")
    if len(octets) != 14 or number >> (5 * LENGTH):
        raise ValueError("not the octets of a message identifier")
    return _encode(number, LENGTH)
