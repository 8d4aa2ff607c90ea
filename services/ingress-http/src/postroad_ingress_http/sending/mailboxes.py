"""Lists of mailboxes with display names, as people write them in From, To, Cc and Reply-To.

Strict where it matters: no control characters, no groups, every address checked by
`mail.address`. The result is what `mimebuild` writes; it never decides where mail goes.
"""

import re
from dataclasses import dataclass

from postroad_common.mail.address import AddressError, Mailbox, parse_mailbox

MAX_NAME = 400  # characters of a display name
MAX_MAILBOXES = 1000

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<quoted>"(?:[^"\\]|\\.)*+")
    | (?P<angle><[^<>]*>)
    | (?P<comma>[,;])
    | (?P<word>[^\s"<>,;]+)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class NamedMailbox:
    """A mailbox and the name shown beside it (empty when there is none)."""

    name: str
    mailbox: Mailbox


def parse_list(text: str) -> list[NamedMailbox]:
    """Read a list separated by commas, such as `Ann <ann@a.example>, bob@b.example`.

    Raises:
        AddressError: with the reason.
    """
    if _CONTROL.search(text):
        raise AddressError("control characters and line breaks are not allowed")
    found: list[NamedMailbox] = []
    words: list[str] = []
    angle: str | None = None
    position = 0
    while position <= len(text):
        match = _TOKEN.match(text, position)
        at_end = position == len(text)
        if match is None and not at_end:
            raise AddressError("a quote or an angle bracket is not closed")
        if match is None or match.lastgroup == "comma":
            if words or angle is not None:
                found.append(_entry(words, angle))
            words, angle = [], None
        elif match.lastgroup == "angle":
            if angle is not None:
                raise AddressError("two addresses stand without a comma between them")
            angle = match[0][1:-1].strip()
        elif match.lastgroup == "space":
            if words:
                words.append(" ")
        else:
            if angle is not None:
                raise AddressError("there is text after the address")
            words.append(match[0])
        position = match.end() if match else position + 1
    if len(found) > MAX_MAILBOXES:
        raise AddressError(f"there are more than {MAX_MAILBOXES} addresses")
    return found


def _entry(words: list[str], angle: str | None) -> NamedMailbox:
    if angle is None:
        # A quoted local part arrives as two words: "a b" and @example.com.
        return NamedMailbox("", parse_mailbox("".join(words).rstrip(), smtputf8=True))
    name = "".join(_unquote(word) for word in words).strip()
    if len(name) > MAX_NAME:
        raise AddressError(f"the display name is longer than {MAX_NAME} characters")
    return NamedMailbox(name, parse_mailbox(angle, smtputf8=True))


def _unquote(word: str) -> str:
    if word.startswith('"'):
        return re.sub(r"\\(.)", r"\1", word[1:-1])
    return word
