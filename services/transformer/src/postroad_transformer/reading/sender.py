"""What the header says of the sender: the domain that signs, and how to unsubscribe."""

import re

import idna

from postroad_common.mail.control import header_end
from postroad_common.schemas.submission import Submission
from postroad_transformer.reading.fields import Block, value_of

_URL = re.compile(rb"<\s*(https?://[^<>]+)>", re.IGNORECASE)
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|\((?:[^()\\]|\\.)*+\)', re.DOTALL)
_ANGLE = re.compile(rb"<[^<>]*@([^<>@\s]+)\s*>")
_BARE = re.compile(rb"(?<![^\s<>@,;:])[^\s<>@,;:]++@([^\s<>@,;]++)")
_FROM = re.compile(
    rb"^from[ \t]*+:([^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*+)", re.IGNORECASE | re.MULTILINE
)
_UNSUBSCRIBE = re.compile(rb"^list-unsubscribe[ \t]*:", re.IGNORECASE | re.MULTILINE)
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_MAX_VALUE = 10_000  # octets of a From or List-Unsubscribe value that are looked at


def peek_sender_domain(raw: bytes) -> str | None:
    """Return what `sender_domain` would, before anything of the message has been read."""
    match = _FROM.search(raw, 0, header_end(raw))
    return _domain_in(_FOLD.sub(b"", match[1]).strip()) if match else None


def sender_domain(raw: bytes, block: Block) -> str | None:
    """Return the domain of the (first) From address, in lower case and as A-labels (RFC 8616).

    None if there is none to be read.
    """
    for field in block.fields:
        if field.name == b"from":
            return _domain_in(value_of(raw, field))
    return None


def list_of(submission: Submission, head: bytes, *, offered: bool) -> str:
    """Return what recipients of the mail may have unsubscribed from; empty: from nothing.

    It is the list that the mail names, else its From address, if the mail can be unsubscribed
    from: its header, at the start of `head`, says how, or one is added (`offered`: to all mail).
    Other mail, receipts and the like, goes on whatever somebody has unsubscribed from.
    """
    if submission.list:
        return submission.list
    adds = submission.list_unsubscribe
    if adds or (adds is None and offered) or _UNSUBSCRIBE.search(head, 0, header_end(head)):
        return submission.sender
    return ""


def _domain_in(value: bytes) -> str | None:
    value = _QUOTED.sub(lambda found: b"x" if found[0][:1] == b'"' else b"", value[:_MAX_VALUE])
    match = _ANGLE.search(value) or _BARE.search(value)
    if not match:
        return None
    try:
        domain = match[1].decode("utf-8").lower().rstrip(".")
        if domain.isascii():
            return domain
        return idna.encode(domain, uts46=True, transitional=False).decode("ascii")
    except (UnicodeError, idna.IDNAError):
        return None


def unsubscribe_urls(raw: bytes, block: Block) -> tuple[str, ...]:
    """Return the http and https URLs of the List-Unsubscribe field."""
    for field in block.fields:
        if field.name == b"list-unsubscribe":
            urls = _URL.findall(value_of(raw, field)[:_MAX_VALUE])
            return tuple(b"".join(url.split()).decode("latin-1") for url in urls)
    return ()
