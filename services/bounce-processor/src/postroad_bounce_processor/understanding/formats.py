"""Bounces written for people: known by their sentences, read around the address they name.

`formats.toml` lists the sentences of the world's mail servers. A mail is only looked at this
way when it was sent the way bounces are sent (null return path, or a mailer daemon as author), so
that a person who quotes a bounce is not taken for one. flufl.bounce is asked last, for formats
that are not listed; it knows addresses but no reasons.
"""

import logging
import re
import tomllib
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from functools import cache
from importlib.resources import files

from flufl.bounce import all_failures

from postroad_bounce_processor.reading.decoding import decode_words
from postroad_bounce_processor.reading.mime import Part

# It logs each exception of a detector with a traceback, before it raises it to us.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)

MAX_FALLBACK_BYTES = 32 * 1024
MAX_FALLBACK_LINE = 1000
MAX_PASSAGE = 1500

_SPACES = re.compile(r"\s+")
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"'=]{1,64}@[a-zA-Z0-9\u0080-\uffff.-]{1,255}")
_DAEMON = re.compile(
    r"mailer-?daemon|mail-?daemon|post-?master|mail delivery (?:sub)?system|mail delivery service|"
    r"maildelivery|microsoftexchange[0-9a-f]{8}|mail administrator|mailadmin|mail system|"
    r"mdaemon|bounce[sd]?\b|mailer\b|delivery-?(?:system|failure|status)|no-?reply.{0,20}delivery",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"undeliver|not deliver|non[ -]?deliver|returned (?:mail|message|e-?mail)|failure notice|"
    r"fail(?:ed|ure)[^a-z]{0,3}(?:deliver|notice|report)|deliver[a-z]*[^a-z]{1,3}(?:status|fail|"
    r"problem|error|delay|report|incomplete)|mail (?:failure|error)|could(?: not|n't) be delivered|"
    r"message (?:status|bounce|undeliver|delayed)|bounce|delayed mail|"
    r"warning: (?:could not|message)|nondeliverable|unzustell|nicht zustell|zustell|fehlgeschlagen|"
    r"onbestelbaar|niet bezorg|"
    r"non remis|non distribu|(?:é|e)chec|retour de courrier|no entregado|devuelto|devolvid|"
    r"n(?:ã|a)o entregue|falha|mancata consegna|non recapitabile|не доставлен|недоставлен|"
    r"退信|退回|系统退信|投递失败|配信|不達",
    re.IGNORECASE,
)
_DELAY = re.compile(
    r"delay|warning|still being|not yet|verz(?:ö|oe)ger|retard|vertraagd|ritard", re.IGNORECASE
)
# Lines of a quoted header block name the author or the list, not who failed.
_HEADER_LINE = re.compile(
    r"[\s>*]{0,20}(?:from|cc|to|subject|reply-to|sender|von|de|sent|message-id)\s?:", re.IGNORECASE
)
# Where the copy of the returned message begins inside the text.
_ORIGINAL = re.compile(
    r"""^[ \t>]*(?:
        -{2,}[ ]*(?:below|this\ is\ a\ copy|original|the\ (?:header|body|attached|original)
            |unsent|undelivered|returned|message\ (?:header|text|follows)|copy\ of|begin|start
            |enclosed|transcript\ of\ message)[^\n]{0,200}
      | (?:received:\ from|return-path:|dkim-signature:|message-id:|mime-version:)\ [^\n]{0,500}
      | original\ message\ (?:headers|follows|details)[^\n]{0,80}
      | (?:your|the)\ original\ message\ (?:follows|headers)[^\n]{0,80}
    )$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of bounce text and the sentences it is known by."""

    name: str
    delayed: bool
    phrases: tuple[str, ...]
    unless: tuple[str, ...]


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


@cache
def built_in_formats() -> tuple[Format, ...]:
    """Return the formats of `formats.toml`, in order."""
    file = files("postroad_bounce_processor.understanding") / "formats.toml"
    return tuple(
        Format(
            name=entry["name"],
            delayed=entry["kind"] == "delayed",
            phrases=tuple(entry["phrases"]),
            unless=tuple(entry.get("unless", ())),
        )
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["format"]
    )


def sent_by_a_daemon(mail: Part, mail_from: str) -> bool:
    """Tell whether a mail comes the way bounces come: from nobody, or from a mailer daemon."""
    if not mail_from.strip("<> "):
        return True
    author = decode_words(mail.headers.get("from"))[:300]
    return bool(_DAEMON.search(author) or _DAEMON.search(mail_from[:300]))


def subject_of_failure(mail: Part) -> bool:
    """Tell whether the subject is one that announces a failed or delayed delivery."""
    return bool(_SUBJECT.search(decode_words(mail.headers.get("subject"))[:300]))


def subject_of_delay(mail: Part) -> bool:
    """Tell whether the subject says that delivery is still being tried."""
    return bool(_DELAY.search(decode_words(mail.headers.get("subject"))[:300]))


def own_words(text: str) -> str:
    """Return what the reporting server wrote itself, without the copy of the returned message."""
    match = _ORIGINAL.search(text)
    if match is None or not text[: match.start()].strip():
        return text
    return text[: match.start()]


def find_format(words: str) -> Format | None:
    """Return the first format whose sentences are in ``words``."""
    flat = _SPACES.sub(" ", words).lower().replace("\u2019", "'")
    for known in built_in_formats():
        if any(phrase in flat for phrase in known.phrases) and not any(
            phrase in flat for phrase in known.unless
        ):
            return known
    return None


def find_passage(words: str, headers_recipient: str, expected: str) -> Passage | None:
    """Return what ``words`` say about the address that failed.

    The expected address is looked for first, then the one a header names (`X-Failed-Recipients`),
    then any address that is not a daemon's.
    """
    lowered = words.lower()
    for wanted in (expected, headers_recipient):
        position = lowered.find(wanted.lower()) if wanted else -1
        if position >= 0:
            same = wanted.lower() == expected.lower()
            return _passage(words, position, wanted, expected=same)
    if headers_recipient:
        same = headers_recipient.lower() == expected.lower()
        return Passage(headers_recipient, same, words[:MAX_PASSAGE], "")
    for number, match in enumerate(_ADDRESS.finditer(words)):
        line = words[words.rfind("\n", 0, match.start()) + 1 : match.start()]
        if not _DAEMON.search(match[0]) and not _HEADER_LINE.match(line):
            return _passage(words, match.start(), match[0].rstrip("."), expected=False)
        if number > 20:
            break
    return None


def nameless_passage(words: str) -> Passage:
    """Return the beginning of a text that names no address.

    Whom it is about the bounce address knows; but it is no evidence against that address.
    """
    return Passage("", expected=False, text=words[:MAX_PASSAGE], rest="")


def ask_fallback(raw: bytes) -> tuple[set[str], set[str]]:
    """Return the (temporary, permanent) addresses that flufl.bounce finds, in lower case.

    Only the beginning of the mail is given to it, with its lines cut, because its patterns were
    not made for hostile input; whatever it raises counts as "nothing found".
    """
    lines = raw[:MAX_FALLBACK_BYTES].split(b"\n")
    shortened = b"\n".join(line[:MAX_FALLBACK_LINE] for line in lines)
    try:
        mail: Message = message_from_bytes(shortened)
        if "@" not in str(mail.get("from", "")):  # one of its detectors relies on an author
            del mail["from"]
            mail["From"] = "unknown@invalid"
        temporary, permanent = all_failures(mail)
    except Exception:  # noqa: BLE001 - a foreign parser over hostile bytes: any failure is its own
        return set(), set()
    return _texts(temporary), _texts(permanent)


def _passage(words: str, position: int, address: str, *, expected: bool) -> Passage:
    """Cut out the paragraph of the address and what follows up to a blank line."""
    blank = words.rfind("\n\n", 0, position)
    start = max(0 if blank < 0 else blank + 2, position - 300)
    after = end = position + len(address)
    for _ in range(3):
        blank = words.find("\n\n", end)
        if blank < 0:
            end = len(words)
            break
        end = blank + 2
        if len(words[after:end].strip(" \n\t>:<")) > 40:
            break
    end = min(end, start + MAX_PASSAGE)
    return Passage(
        address, expected, words[start:end].strip(), words[end : end + MAX_PASSAGE].strip()
    )


def _texts(addresses: object) -> set[str]:
    found: set[str] = set()
    for address in list(addresses)[:100] if isinstance(addresses, frozenset | set) else []:
        text = address.decode("utf-8", "replace") if isinstance(address, bytes) else str(address)
        if "@" in text:
            found.add(text.strip("<>").lower())
    return found
