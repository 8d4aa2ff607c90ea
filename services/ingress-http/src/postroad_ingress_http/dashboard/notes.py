"""What one page tells the next: a word after an act, and secrets that are shown once.

Both travel in cookies, so that the answer to a form is always a redirect and a reload repeats
nothing. The one with secrets is sealed: what is left of it on a disk says nothing.
"""

import json
from dataclasses import asdict, dataclass
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response

from postroad_common.tokens import Keyring
from postroad_ingress_http.dashboard.sealing import Sealer

NOTICE_COOKIE = "postroad_notice"
NOTE_COOKIE = "postroad_note"
PATH = "/dashboard"
_SECONDS = 120
_PURPOSE = "dashboard note"
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
        self._sealer = Sealer(keyring, _PURPOSE)
        self._secure = secure

    def leave(self, answer: Response, note: Note) -> None:
        """Put the note into a cookie that lives for two minutes."""
        answer.set_cookie(
            NOTE_COOKIE,
            self._sealer.seal(json.dumps(asdict(note))),
            max_age=_SECONDS,
            path=PATH,
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def open(self, request: Request) -> Note | None:
        """Return the note of the page before; None where there is none, or not any more."""
        opened = self._sealer.open(request.cookies.get(NOTE_COOKIE, ""))
        return Note(**json.loads(opened)) if opened else None
