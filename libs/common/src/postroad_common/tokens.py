"""Signatures: the keyring, and the self-contained tokens of tracked links.

A token carries all that the tracker needs (message, link number, target) and a MAC, so a click is
redirected without any look-up and no URL is ever followed that Postroad did not sign. Bounce
addresses, which are signed with the same keyring, are in `mail.verp`.

Path of a tracked link: `/<kind><key id, MAC, message id, number in base64url>/<target>` where
`kind` is one letter and `target` the base64url of the URL's octets; opens and unsubscriptions have
none, and that of an image of ours is the SHA-256 of its octets.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from postroad_common.mail import identifiers

_MAC_SIZE = 9  # octets; with the key id, 14 of the message id and 3 of the number: 27, no padding
_NUMBER_SIZE = 3
_HEAD_SIZE = 1 + _MAC_SIZE + 14 + _NUMBER_SIZE
_HEAD_CHARS = _HEAD_SIZE * 4 // 3
MAX_PATH = 16_384


class Keyring:
    """Keys derived from the master secrets: the first signs, all verify.

    A key's id is one octet that follows from the key, so the order of the list may change.

    Raises:
        ValueError: there is no secret, or two of them have the same id.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets or not all(secrets):
            raise ValueError("the keyring needs at least one secret")
        masters = [hashlib.sha256(b"postroad\0" + text.encode()).digest() for text in secrets]
        self._masters = {master[0]: master for master in masters}
        if len(self._masters) < len(set(masters)):
            # One in 256 pairs. Nothing that the second one signed would be known again.
            raise ValueError("two secrets cannot be told apart: make another new one")
        self.key_id = masters[0][0]
        self._derived: dict[tuple[int, str], bytes] = {}

    def _key(self, purpose: str, key_id: int) -> bytes | None:
        key = self._derived.get((key_id, purpose))
        if key is None and key_id in self._masters:
            key = hmac.digest(self._masters[key_id], purpose.encode(), "sha256")
            self._derived[key_id, purpose] = key
        return key

    def derived(self, purpose: str, key_id: int) -> bytes | None:
        """Return the 32 octets for `purpose` of the key with this id; None when it is gone."""
        return self._key(purpose, key_id)

    def mac(self, purpose: str, data: bytes, size: int) -> bytes:
        """`size` octets (at most 64) that only a holder of the first key can make of `data`."""
        state = self.keyed(purpose, size)
        state.update(data)
        return state.digest()

    def keyed(self, purpose: str, size: int) -> "hashlib.blake2b":
        """Return the state of a hash that needs nothing but the data to be as `mac`."""
        key = self._key(purpose, self.key_id)
        assert key is not None  # noqa: S101 - the first key always exists
        return hashlib.blake2b(key=key, digest_size=size)

    def verify(self, purpose: str, key_id: int, data: bytes, mac: bytes) -> bool:
        """Whether `mac` was made of `data` with the key `key_id`; takes constant time."""
        key = self._key(purpose, key_id)
        if key is None or not mac:
            return False
        expected = hashlib.blake2b(data, key=key, digest_size=len(mac)).digest()
        return hmac.compare_digest(expected, mac)


class LinkKind(StrEnum):
    """What a request to the tracker means."""

    CLICK = "click"
    OPEN = "open"
    IMAGE = "image"
    UNSUBSCRIBE = "unsubscribe"
    HOSTED = "hosted"  # an image of ours, whose fetching counts as an opening
    PICTURE = "picture"  # an image of ours, not counted


_LETTERS = {
    LinkKind.CLICK: "c",
    LinkKind.OPEN: "o",
    LinkKind.IMAGE: "i",
    LinkKind.UNSUBSCRIBE: "u",
    LinkKind.HOSTED: "h",
    LinkKind.PICTURE: "p",
}
# Of those without a target, how the path ends.
_ENDS = {LinkKind.OPEN: ".gif", LinkKind.UNSUBSCRIBE: ""}
_LETTER_OCTETS = {kind: letter.encode("ascii") for kind, letter in _LETTERS.items()}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}
_PURPOSES = {kind: f"link.{letter}" for kind, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class LinkToken:
    """A verified token. `number` is the position of the link in the mail, from 0."""

    kind: LinkKind
    message_id: str
    number: int
    target: bytes | None


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _b64(octets: bytes) -> str:
    encoded = binascii.b2a_base64(octets, newline=False).translate(_URL_SAFE)
    return encoded.rstrip(b"=").decode("ascii")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class MessageLinks:
    """The links of one message, to one recipient."""

    __slots__ = ("_base", "_id", "_keyring")

    def __init__(self, keyring: Keyring, base: str, message_id: str) -> None:
        self._keyring = keyring
        self._base = base
        self._id = identifiers.to_bytes(message_id)

    def head(self, kind: LinkKind, number: int, target: bytes) -> str:
        """Return the part of the path that differs per recipient; always 37 characters long."""
        signed = self._id + number.to_bytes(_NUMBER_SIZE, "big")
        mac = self._keyring.mac(_PURPOSES[kind], signed + target, _MAC_SIZE)
        return _LETTERS[kind] + _b64(bytes((self._keyring.key_id,)) + mac + signed)

    def heads(self, places: Iterable[tuple[LinkKind, int, bytes]]) -> list[bytes]:
        """As `head` for many places (kind, number, target), together cheaper than one by one."""
        key_id, message = bytes((self._keyring.key_id,)), self._id
        keyed: dict[LinkKind, hashlib.blake2b] = {}  # with its key taken in already
        letters: list[bytes] = []
        octets: list[bytes] = []
        for kind, number, target in places:
            signed = message + number.to_bytes(_NUMBER_SIZE, "big")
            state = keyed.get(kind)
            if state is None:
                state = keyed[kind] = self._keyring.keyed(_PURPOSES[kind], _MAC_SIZE)
            state = state.copy()
            state.update(signed + target)
            octets += key_id, state.digest(), signed
            letters.append(_LETTER_OCTETS[kind])
        # 27 octets make 36 characters without padding, so one encoding does for all.
        encoded = binascii.b2a_base64(b"".join(octets), newline=False).translate(_URL_SAFE)
        return [
            letter + encoded[at : at + _HEAD_CHARS]
            for letter, at in zip(letters, range(0, len(encoded), _HEAD_CHARS), strict=True)
        ]

    def url(self, kind: LinkKind, number: int, target: bytes = b"") -> str:
        """Return the whole URL."""
        return f"{self._base}/{self.head(kind, number, target)}{tail(kind, target)}"


def tail(kind: LinkKind, target: bytes) -> str:
    """Return the part of the path behind `MessageLinks.head`: the same for every recipient."""
    end = _ENDS.get(kind)
    return "/" + _b64(target) if end is None else end


def tails(kind: LinkKind, targets: Sequence[bytes]) -> list[str]:
    """Return what `tail` does for each of many targets, together cheaper."""
    if kind in _ENDS:
        return [_ENDS[kind]] * len(targets)
    encoded = b"".join(map(binascii.b2a_base64, targets)).translate(_URL_SAFE, b"=")
    return ["/" + text for text in encoded.decode("ascii").split("\n")[:-1]]


class LinkSigner:
    """Makes and reads the tracked links below one base URL (without a slash at its end)."""

    HEAD_LENGTH = 1 + _HEAD_CHARS

    def __init__(self, keyring: Keyring, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._keyring = keyring

    def for_message(self, message_id: str) -> MessageLinks:
        """Return the links of one message.

        Raises:
            ValueError: `message_id` is no identifier.
        """
        return MessageLinks(self._keyring, self.base_url, message_id)

    def click(self, message_id: str, number: int, target: bytes) -> str:
        """Return the URL that records a click on link `number` and leads to `target`."""
        return self.for_message(message_id).url(LinkKind.CLICK, number, target)

    def image(self, message_id: str, number: int, target: bytes) -> str:
        """Return the URL that records an opening and leads to the image at `target`."""
        return self.for_message(message_id).url(LinkKind.IMAGE, number, target)

    def open(self, message_id: str) -> str:
        """Return the URL of the open pixel."""
        return self.for_message(message_id).url(LinkKind.OPEN, 0)

    def unsubscribe(self, message_id: str) -> str:
        """Return the URL of the one-click unsubscription (RFC 8058)."""
        return self.for_message(message_id).url(LinkKind.UNSUBSCRIBE, 0)

    def read_path(self, path: str) -> LinkToken | None:
        """Return what the request path `path` (with its leading slash) stands for.

        None for whatever was not signed by one of our keys, or is malformed or too long.
        """
        found = _taken_apart(path)
        if found is None:
            return None
        octets, token, target = found
        mac, signed = octets[1 : 1 + _MAC_SIZE], octets[1 + _MAC_SIZE :]
        if not self._keyring.verify(_PURPOSES[token.kind], octets[0], signed + target, mac):
            return None
        return token


def read_unverified(path: str) -> LinkToken | None:
    """Return what `path` would stand for if it was signed; for mail that we made ourselves."""
    found = _taken_apart(path)
    return None if found is None else found[1]


def _taken_apart(path: str) -> tuple[bytes, LinkToken, bytes] | None:
    """Return the octets of the head, the token, and the target of a path in canonical form."""
    if len(path) > MAX_PATH or not path.startswith("/") or not path.isascii():
        return None
    kind = _KINDS.get(path[1:2])
    head, rest = path[2 : 2 + _HEAD_CHARS], path[2 + _HEAD_CHARS :]
    if kind is None or len(head) != _HEAD_CHARS:
        return None
    try:
        octets = _unb64(head)
        target = _read_tail(kind, rest)
    except (binascii.Error, ValueError):
        return None
    if target is None or len(octets) != _HEAD_SIZE or path != _canonical(kind, octets, target):
        return None
    signed = octets[1 + _MAC_SIZE :]
    try:
        message_id = identifiers.from_bytes(signed[:14])
    except ValueError:
        return None
    number = int.from_bytes(signed[14:], "big")
    return octets, LinkToken(kind, message_id, number, None if kind in _ENDS else target), target


def _read_tail(kind: LinkKind, rest: str) -> bytes | None:
    if kind not in _ENDS:
        return _unb64(rest[1:]) if rest.startswith("/") and len(rest) > 1 else None
    return b"" if rest == tail(kind, b"") else None


def _canonical(kind: LinkKind, head: bytes, target: bytes) -> str:
    """Return the one path for these octets: lenient base64 decoding must not make several."""
    return f"/{_LETTERS[kind]}{_b64(head)}{tail(kind, target)}"
