"""What one page tells the next: a word after an act, and secrets that are shown once.

Both travel in cookies, so that the answer to a form is always a redirect and a reload repeats
nothing. The one with secrets is sealed: what is left of it on a disk says nothing.
"""

import base64
import binascii
import json
import os
from dataclasses import asdict, dataclass
from urllib.parse import quote, unquote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.tokens import Keyring

NOTICE_COOKIE = "postroad_notice"
NOTE_COOKIE = "postroad_note"
PATH = "/dashboard"
_SECONDS = 120
_PURPOSE = "dashboard note"
_NONCE = 12  # octets
_LONGEST_NOTICE = 300


@dataclass(frozen=True, slots=True)
class Note:
    """Secrets by their labels, below a heading; `back` is the page to go on to."""

    heading: str
    back: str
    secrets: dict[str, str]


def leave_notice(answer: Response, text: str) -> None:
    """Have the next page say `text`."""
    answer.set_cookie(
        NOTICE_COOKIE,
        quote(text[:_LONGEST_NOTICE]),
        max_age=_SECONDS,
        path=PATH,
        httponly=True,
        samesite="lax",
    )


def notice_for(request: Request) -> str | None:
    """Return what the page before has to say."""
    return unquote(request.cookies.get(NOTICE_COOKIE, ""))[:_LONGEST_NOTICE] or None


class SealedNotes:
    """Seals texts into a cookie of the answer, and opens that of a request."""

    def __init__(self, keyring: Keyring, *, secure: bool) -> None:
        """`secure`: the cookie travels over https only."""
        self._keyring = keyring
        self._secure = secure

    def leave(self, answer: Response, note: Note) -> None:
        """Put the note into a cookie that lives for two minutes."""
        nonce = os.urandom(_NONCE)
        sealed = AESGCM(self._key()).encrypt(nonce, json.dumps(asdict(note)).encode(), None)
        answer.set_cookie(
            NOTE_COOKIE,
            base64.urlsafe_b64encode(nonce + sealed).decode(),
            max_age=_SECONDS,
            path=PATH,
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def open(self, request: Request) -> Note | None:
        """Return the note of the page before; None where there is none, or not any more."""
        try:
            octets = base64.urlsafe_b64decode(request.cookies.get(NOTE_COOKIE, ""))
            opened = AESGCM(self._key()).decrypt(octets[:_NONCE], octets[_NONCE:], None)
        except (binascii.Error, InvalidTag, ValueError):
            return None
        return Note(**json.loads(opened))

    def _key(self) -> bytes:
        key = self._keyring.derived(_PURPOSE, self._keyring.key_id)
        assert key is not None  # noqa: S101 - the first key always exists
        return key
