"""The traces that our own mail leaves in a complaint about it, whatever the provider redacts.

The strongest first; the first kind that names one message decides, because the text below may
quote other mail of ours:

    return path  the signed bounce address, in the fields of the report and in the header inside
    header link  the signed link of List-Unsubscribe, or another one in the header inside
    submission   the identifier in our own Received field or Message-ID: 60 bits of chance, but
                 the same for all recipients of one submission
    text link    the signed links in the text, if all are of one message

Feedback-ID, the Message-ID and the recipient named help to find a message and prove nothing.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from postroad_common.mail.identifiers import is_id
from postroad_common.mail.mime import Headers, Part, read, read_headers
from postroad_common.mail.verp import BounceAddresses
from postroad_common.tokens import LinkSigner

MAX_INSIDE = 256 * 1024
"""Octets of the returned mail that are searched."""
_MAX_TEXTS = 16
_MAX_TOKENS = 60

_BOUNCE = re.compile(r"\bb[0-9a-v]{21}-[0-9a-f]{2}[0-9a-v]{12}@[a-z0-9.-]{1,255}", re.IGNORECASE)
_LINK = re.compile(r"/[couihp][A-Za-z0-9_-]{36}(?:\.gif|/[A-Za-z0-9_-]{1,8000}+)?")
_RECEIVED = re.compile(r"\(Postroad\) with [A-Za-z0-9]{1,20}\s{1,20}id ([0-9a-v]{21})\b")
_RETURN_PATHS = ("return-path", "x-original-mail-from", "x-envelope-from", "x-mail-from")
_REPORT_PATHS = ("original-mail-from", "return-path")
_RECIPIENTS = ("original-rcpt-to", "removal-recipient", "x-original-to", "x-hmxmroriginalrecipient")
_HEADER_TYPES = frozenset({"message/rfc822", "message/global", "text/rfc822-headers"})


@dataclass(frozen=True, slots=True)
class Traces:
    """What a complaint holds of the mail that it is about."""

    signed: str = ""
    """The message whose signature is there: proof that the reporter had that mail."""
    signed_by: str = ""
    """Which trace that is, for the timeline."""
    submissions: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    feedback_id: str = ""
    message_id: str = ""


def find_traces(mail: Part, addresses: BounceAddresses, links: LinkSigner, now: float) -> Traces:
    """Return the traces in a complaint; `now` (Unix seconds) is when it came.

    Never raises; the work is bounded whatever the mail is.
    """
    report = _report_fields(mail)
    inside = _inside(mail)
    header = inside.headers if inside is not None else read_headers(b"")
    recipients = dict.fromkeys(
        address
        for fields in (report, header, mail.headers)
        for name in _RECIPIENTS
        for value in fields.all(name)[:20]
        if (address := _mailbox(value))
    )
    paths = [value for name in _REPORT_PATHS for value in report.all(name)[:5]]
    paths += [value for name in _RETURN_PATHS for value in header.all(name)[:5]]
    signed, by = _signature(
        (
            ("return path", _bounce_addresses(paths, addresses, now)),
            ("link in the header", _tokens((value for _, value in header.fields[:200]), links)),
            ("link in the text", _tokens(_texts(inside or mail), links)),
        )
    )
    return Traces(
        signed=signed,
        signed_by=by,
        submissions=_submissions(header),
        recipients=tuple(recipients)[:20],
        feedback_id=header.get("feedback-id")[:300],
        message_id=header.get("message-id").strip()[:1000],
    )


def login_of(feedback_id: str) -> tuple[str, str] | None:
    """Return the hash of the login and the account that a Feedback-ID like ours claims."""
    parts = [part.strip() for part in feedback_id.split(":")]
    if len(parts) != 4 or not all(parts):
        return None
    return parts[1], parts[2]


def _signature(found: Iterable[tuple[str, set[str]]]) -> tuple[str, str]:
    """Return the one message of the first kind of trace that there is, and that kind."""
    for kind, messages in found:
        if len(messages) == 1:
            return messages.pop(), kind
        if messages:
            break  # of several messages: which of them is meant is not known
    return "", ""


def _report_fields(mail: Part) -> Headers:
    part = next((p for p in mail.walk() if p.media_type == "message/feedback-report"), None)
    return read_headers(part.content().lstrip(b"\r\n") if part is not None else b"")


def _inside(mail: Part) -> Part | None:
    """Return the mail that is complained about, or its header."""
    for part in mail.walk():
        if part.media_type in _HEADER_TYPES:
            return read(part.content(MAX_INSIDE).lstrip(b"\r\n"))
    return None


def _bounce_addresses(values: Iterable[str], addresses: BounceAddresses, now: float) -> set[str]:
    candidates = [match[0] for value in values for match in _BOUNCE.finditer(value[:1000])]
    found = (addresses.verify(candidate, now).message_id for candidate in candidates[:_MAX_TOKENS])
    return {message_id for message_id in found if message_id}


def _tokens(texts: Iterable[str], links: LinkSigner) -> set[str]:
    found: set[str] = set()
    looked = 0
    for text in texts:
        for match in _LINK.finditer(text):
            token = links.read_path(match[0])
            if token is not None:
                found.add(token.message_id)
            looked += 1
            if looked == _MAX_TOKENS:
                return found
    return found


def _texts(mail: Part) -> Iterable[str]:
    """Yield what the parts say, the links in tags included."""
    parts = (part for part in mail.walk() if not part.children)
    for part, _ in zip(parts, range(_MAX_TEXTS), strict=False):
        if part.media_type.startswith("text/"):
            yield part.content().decode("latin-1")


def _submissions(header: Headers) -> tuple[str, ...]:
    found = [
        match[1]
        for value in header.all("received")[:50]
        for match in _RECEIVED.finditer(value[:1000])
    ]
    own = header.get("message-id").strip().strip("<>").partition("@")[0]
    if is_id(own):
        found.append(own)
    return tuple(dict.fromkeys(found))[:5]


def _mailbox(value: str) -> str:
    """Return the address in a field; empty for none and for what is redacted beyond use."""
    text = value.rpartition(";")[2].strip()[:500]
    address = text.rpartition("<")[2].partition(">")[0].strip()
    local, at, domain = address.rpartition("@")
    return address.lower() if at and local and "." in domain and " " not in address else ""
