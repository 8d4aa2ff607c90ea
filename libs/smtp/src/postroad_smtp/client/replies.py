"""Octets to replies (RFC 5321 section 4.2), as servers really write them.

A reply that is odd is still a reply: lines that are too long, too many, or have different codes,
lines between them that have none, a last line that never ends. What counts is the code of the last
line; text is cut. Only what has no code at all is no reply. So mail that a server has taken is not
sent again because of how the server says so; the caller ends a connection that was `odd` as soon as
it can.

Knows no network: octets in, replies out. Octets kept and octets taken for one reply are bounded.
"""

import functools
import re
from collections.abc import Sequence

from postroad_common.mail.reply import Reply

MAX_LINE = 2048  # octets kept of one line; RFC 5321 section 4.5.3.1.5 allows 512
MAX_REPLY = 32_768  # octets kept of all lines of one reply
MAX_FLOOD = 1_048_576  # octets until a reply has to be complete

_CODED = re.compile(rb"[\x00\t ]*([2-5][0-9]{2})(?![0-9])(.*)", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


class ReplyFloodError(Exception):
    """Far more octets than a reply has, and no end of it."""


class ReplyReader:
    """Reads one side of a conversation. `odd`: something was not as the RFC has it."""

    def __init__(self) -> None:
        self.odd = False
        self._partial = b""  # the beginning of a line, as much of it as is kept
        self._taken = 0  # octets since the last reply was complete
        self._kept = 0
        self._texts: list[str] = []
        self._code = b""
        self._enhanced = ""
        self._stray = b""  # the first line without a code since the last reply

    @property
    def is_between(self) -> bool:
        """Whether no reply has begun: nothing came since the last one but lines without a code."""
        return not self._code and not self._partial

    @property
    def is_clear(self) -> bool:
        """Whether nothing at all came since the last reply."""
        return self._taken == 0

    @property
    def rubbish(self) -> str:
        """What came instead of a reply, shortened; empty if nothing did."""
        return _text_of(self._stray or self._partial)[:80]

    def feed(self, octets: bytes) -> list[Reply]:
        """Return the replies that are complete with these `octets`.

        Raises:
            FloodError: there is no end of one.
        """
        replies: list[Reply] = []
        *lines, rest = octets.split(b"\n")
        for line in lines:
            whole = self._partial + line if self._partial else line
            self._partial = b""
            self._taken += len(line) + 1
            reply = self._take(whole.removesuffix(b"\r"))
            if reply is not None:
                replies.append(reply)
        if rest:
            self._taken += len(rest)
            self._partial = (self._partial + rest)[: MAX_LINE + 1]
        if self._taken > MAX_FLOOD:
            raise ReplyFloodError
        return replies

    def finish(self) -> Reply | None:
        """Return what an unfinished reply comes to when nothing more will come; None without one.

        A last line that does not end, or lines of which none was the last, still have a code.
        """
        partial, self._partial = self._partial, b""
        reply = self._take(partial.rstrip(b"\r")) if partial else None
        if reply is None and self._code:
            reply = self._complete()
        if reply is not None:
            self.odd = True
        return reply

    # -- inside

    def _take(self, line: bytes) -> Reply | None:
        """Take a line; returns the reply that it completes."""
        if not self._code and len(line) <= MAX_LINE:
            reply = _whole(line)
            if reply is not None:
                self._forget()
                return reply
        if len(line) > MAX_LINE:
            self.odd = True
            line = line[:MAX_LINE]
        match = _CODED.fullmatch(line)
        if match is None:
            self.odd = True
            self._stray = self._stray or line or b"\n"
            if self._code:
                self._keep(line)
            return None
        code, rest = match[1], match[2]
        if self._code and code != self._code:
            self.odd = True
            self._enhanced = ""  # of a line whose code does not count
        if line[:3] != code or rest[:1] not in _AFTER_CODE:
            self.odd = True
        self._code = code
        self._keep(rest[1:] if rest[:1] in _AFTER_CODE else rest)
        return None if rest[:1] == b"-" else self._complete()

    def _keep(self, line: bytes) -> None:
        self._kept += len(line)
        if self._kept > MAX_REPLY:
            self.odd = True
            return
        text = _text_of(line)
        match = _ENHANCED.match(text)
        if match and match[1][0] == chr(self._code[0]):
            self._enhanced = self._enhanced or match[1]
            text = text[match.end() :]
        self._texts.append(text)

    def _complete(self) -> Reply:
        reply = Reply(int(self._code), self._enhanced, "\n".join(self._texts))
        self._forget()
        return reply

    def _forget(self) -> None:
        """Begin with the next reply."""
        self._taken = self._kept = 0
        self._code = self._stray = b""
        self._enhanced = ""
        self._texts = []


_AFTER_CODE = (b" ", b"-", b"")


@functools.lru_cache(maxsize=1024)
def _whole(line: bytes) -> Reply | None:
    """Return the reply of one good line, or None; they repeat themselves all day long."""
    return None if line[3:4] == b"-" else _parse((line,))


def _parse(lines: Sequence[bytes]) -> Reply | None:
    try:
        return Reply.parse_lines([_text_of(line) for line in lines])
    except ValueError:
        return None


def _text_of(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text.rstrip()
