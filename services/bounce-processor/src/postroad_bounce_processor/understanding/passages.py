"""Which of a text's words are about one address.

A bounce for people often speaks of several recipients. What it says about the neighbour must not
be held against ours, so a passage ends where a line begins with another address.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PASSAGE = 1500
"""Characters of the passage itself, and of what follows it."""
MAX_BEFORE = 300
MAX_ADDRESSES = 60

_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"'=*]{1,64}@[a-zA-Z0-9\u0080-\uffff.-]{1,255}")
_IDEOGRAPHS = "\u2e80"
"""The first of the characters of scripts that put no spaces between words."""
_LEADING = re.compile(
    r"[ \t>*\"'<(\u00b7\u2022-]{0,12}(?:recipient(?: address)?:|to:|[245]\d\d(?: [245]\.\d\.\d)?)?"
    r"[ \t<\"']{0,12}$"
)
_AUTHORITY = re.compile(
    r"mailer-?daemon|mail-?daemon|post[-_]?master|support@|helpdesk@|abuse@", re.IGNORECASE
)
# A reply that begins with an address may be about the sender's.
_OF_THE_SENDER = re.compile(r"[>:.\s]{0,6}(?:sender|domain of (?:the )?sender|helo)", re.IGNORECASE)
# What follows is who forwards to the address that failed (Exim, Postfix).
_FORWARDED = re.compile(r"\((?:generated|expanded) from <?\Z")
# Lines of a quoted header block name the author or the list, not who failed.
_HEADER_LINE = re.compile(
    r"[\s>*]{0,20}(?:from|cc|to|subject|reply-to|sender|von|de|sent|mail from|message-id)\s?:",
    re.IGNORECASE,
)
# Where the copy of the returned message begins inside the text.
_ORIGINAL = re.compile(
    r"""^[ \t>|]*(?:
        -{2,}[ ]*(?:below|this\ is\ a\ copy|original|the\ (?:header|body|attached|original)
            |unsent|undelivered|returned|message\ (?:header|text|follows)|copy\ of|begin|start
            |enclosed|transcript\ of\ message)[^\n]{0,200}
      | (?:received:\ (?:from|by)|return-path:|dkim-signature:|message-id:|mime-version:)
            \ [^\n]{0,500}
      | original\ (?:message|mail)\ (?:headers|follows|details|as\ follows)[^\n]{0,80}
      | (?:your|the)\ original\ message\ (?:follows|headers)[^\n]{0,80}
      | message\ headers?\ follow[^\n]{0,80}
      | content-type:[ ]message/rfc822[^\n]{0,200}
    )$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


# Some reports begin with a few fields of the message that they are about.
_NAMES_ITS_SUBJECT = re.compile(r"with the following header fields:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Passage:
    """What a text says about one address."""

    address: str
    expected: bool
    """It is the address that the message went to."""
    text: str
    """The paragraph of the address, and the next where that one says little."""
    rest: str
    """What follows, for want of better words: advice, often, that speaks of many reasons."""
    alone: bool = False
    """The text names no other recipient, so that what follows can mean nobody else."""
    before: str = ""
    """The paragraph in front: some servers say there what happened to those that follow."""


def own_words(text: str) -> str:
    """Return what the reporting server wrote itself, without the copy of the returned message."""
    for match in _ORIGINAL.finditer(text):
        if _NAMES_ITS_SUBJECT.search(text[max(0, match.start() - 400) : match.start()]):
            continue
        if text[: match.start()].strip():
            return text[: match.start()]
    return text


def find_passage(words: str, headers_recipient: str, expected: str) -> Passage | None:
    """Return what ``words`` say about the address that failed.

    The expected address is looked for first, then the one a header names (`X-Failed-Recipients`),
    then any address that is not a daemon's; the expected one does not count where it is only named
    as forwarding to the one that failed.
    """
    lowered = words.lower()
    for wanted in (expected, headers_recipient):
        position = _position(words, lowered, wanted.lower()) if wanted else -1
        if position >= 0 and not _FORWARDED.search(words, max(0, position - 40), position):
            same = wanted.lower() == expected.lower()
            return _passage(words, position, wanted, expected=same)
    if headers_recipient:
        same = headers_recipient.lower() == expected.lower()
        return Passage(headers_recipient, same, words[:MAX_PASSAGE], "", alone=same)
    for match in _addresses(words):
        if not _AUTHORITY.search(match[0]) and not _HEADER_LINE.match(_line_before(words, match)):
            return _passage(words, match.start(), match[0].rstrip("."), expected=False)
    return None


def addresses_in(text: str) -> Iterator[str]:
    """Yield the addresses that a text names, without those of daemons."""
    for match in _addresses(text):
        if not _AUTHORITY.search(match[0]):
            yield match[0].rstrip(".")


def nameless_passage(words: str) -> Passage:
    """Return the beginning of a text that names no address.

    Whom it is about the bounce address knows; but it is no evidence against that address.
    """
    return Passage("", expected=False, text=words[:MAX_PASSAGE], rest="")


def _position(words: str, lowered: str, wanted: str) -> int:
    """Return where an address stands, rather not in a line of a quoted header; -1 if nowhere."""
    first = position = lowered.find(wanted)
    for _ in range(10):
        if position < 0:
            break
        line = words[words.rfind("\n", 0, position) + 1 : position]
        if not _HEADER_LINE.match(line):
            return position
        position = lowered.find(wanted, position + 1)
    return first


def _passage(words: str, position: int, address: str, *, expected: bool) -> Passage:
    """Cut out the paragraph of the address and what follows up to a blank line."""
    first, last, alone = _bounds(words, position, address)
    blank = words.rfind("\n\n", first, position)
    start = max(first if blank < 0 else blank + 2, position - MAX_BEFORE)
    after = end = min(position + len(address), last)
    for _ in range(3):
        blank = words.find("\n\n", end, last)
        if blank < 0:
            end = last
            break
        end = blank + 2
        if len(words[after:end].strip(" \n\t>:<")) > 40:
            break
    end = min(end, start + MAX_PASSAGE)
    return Passage(
        address,
        expected,
        words[start:end].strip(),
        words[end : min(last, end + MAX_PASSAGE)].strip(),
        alone,
        words[max(first, start - MAX_BEFORE) : start].strip(),
    )


def _bounds(words: str, position: int, address: str) -> tuple[int, int, bool]:
    """Return between which places the text is about this address, and whether it names no other."""
    first, last, alone = 0, len(words), True
    for match in _addresses(words):
        leading = _line_before(words, match)
        if _is_spelt_in(match[0], address) or not _LEADING.match(leading):
            continue
        if _AUTHORITY.search(match[0]) or _HEADER_LINE.match(leading):
            continue
        if _OF_THE_SENDER.match(words, match.end()):
            continue
        alone = False
        line = match.start() - len(leading)
        if line > position:
            return first, line, False
        # What stands after the neighbour's line, from the next line on.
        newline = words.find("\n", match.end())
        if 0 <= newline < position:
            first = newline + 1
    return first, last, alone


def _is_spelt_in(found: str, address: str) -> bool:
    """Tell whether `found` is the address, or the address within a text that has no spaces."""
    before, same, after = found.rstrip(".").lower().partition(address.lower())
    if not same:
        return False
    return (not before or before[-1] >= _IDEOGRAPHS) and (not after or after[0] >= _IDEOGRAPHS)


def _addresses(words: str) -> Iterator[re.Match[str]]:
    for number, match in enumerate(_ADDRESS.finditer(words)):
        if number >= MAX_ADDRESSES:
            return
        yield match


def _line_before(words: str, match: re.Match[str]) -> str:
    return words[max(words.rfind("\n", 0, match.start()) + 1, match.start() - 200) : match.start()]
