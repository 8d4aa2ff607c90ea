"""The header a message leaves with: trace added, private fields removed, what is missing supplied.

Fields that stay are copied octet for octet, malformed ones too, but without white space before
the colon, over which verifiers of DKIM signatures stumble. Removed: Bcc, Resent-Bcc and
Return-Path. Added: Received always; Date and Message-ID where there is none or it is blank;
Feedback-ID and, only where the operator asks for it, List-Unsubscribe with one-click (RFC 8058),
where the message has none of its own.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from postroad_common.mail.dates import date_text
from postroad_common.mail.feedbackloop import login_pseudonym
from postroad_common.schemas.submission import Submission
from postroad_common.tokens import LinkKind, tail
from postroad_transformer.reading.fields import Block, Field
from postroad_transformer.segments import Chunk, Hole

_REMOVED = frozenset({b"bcc", b"resent-bcc", b"return-path"})
_SUPPLIED = frozenset({b"date", b"message-id"})
_HELO = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_TOKEN = re.compile(r"[^A-Za-z0-9._-]")
_date_text = lru_cache(64)(date_text)


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """What the operator decided about added fields.

    `unsubscribe_url` is the tracker's base URL; None adds no List-Unsubscribe.
    """

    hostname: str
    feedback_sender: str = "postroad"
    unsubscribe_url: str | None = None
    feedback_key: bytes = b""

    def pseudonym(self, login: str) -> str:
        """Return what recipients see in place of a login: a keyed hash, 16 hexadecimal digits."""
        return login_pseudonym(self.feedback_key, login)


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a header, each whole with its CRLF, or with a hole in it."""

    fields: tuple[tuple[Chunk, ...], ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def static(self) -> list[bytes] | None:
        """The fields as octets; None if one has a hole."""
        plain: list[bytes] = []
        for parts in self.fields:
            if len(parts) != 1 or not isinstance(parts[0], bytes):
                return None
            plain.append(parts[0])
        return plain

    def filled(self, fill: bytes) -> list[bytes]:
        """Return the fields as octets, with `fill` in their holes."""
        return [
            b"".join([fill if isinstance(part, Hole) else part for part in parts])
            for parts in self.fields
        ]


def trace_field(submission: Submission, hostname: str) -> bytes:
    """Return the trace field (RFC 5321 section 4.4) for the step into this system."""
    client = submission.client
    came = client and (client.ip, client.helo, client.protocol, client.tls)
    before, after = _steps(submission.source, came, hostname)
    date = _date_text(int(submission.received))
    return f"{before}{submission.id}{after}{date}\r\n".encode("ascii")


@lru_cache(1024)
def _steps(
    kind: str, client: tuple[str, str, str, str | None] | None, hostname: str
) -> tuple[str, str]:
    """Return the trace field before and behind the id; the mails of one client share it."""
    source, protocol, tls = "", "HTTPS" if kind == "rest" else "ESMTPSA", ""
    if client is not None:
        ip, helo, stated, version = client
        protocol = _TOKEN.sub("", stated) or protocol
        ip = _HELO.sub("", ip)
        address = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"
        helo = _HELO.sub("", helo)[:255] or address
        source = f"from {helo} ({address})\r\n\t"
        if version:
            tls = f"\r\n\t(using {re.sub('[^A-Za-z0-9._ -]', '', version)[:100]})"
    before = f"Received: {source}by {hostname} (Postroad) with {protocol}\r\n\tid "
    return before, f"{tls};\r\n\t"


def build_header(raw: bytes, block: Block, submission: Submission, rules: HeaderRules) -> Header:
    """Return the new header of the message `raw` whose header is `block`."""
    present: set[bytes] = set()
    removed: dict[str, None] = {}
    fields: list[tuple[Chunk, ...]] = [(trace_field(submission, rules.hostname),)]
    for field in block.fields:
        if field.name in _REMOVED or (field.name in _SUPPLIED and _is_blank(raw, field)):
            removed[field.name.decode("ascii")] = None
        else:
            present.add(field.name)
            fields.append((_field_octets(raw, field),))
    added: list[str] = []

    def add(name: str, *value: Chunk) -> None:
        fields.append((name.encode("ascii") + b": ", *value, b"\r\n"))
        added.append(name)

    def add_text(name: str, value: str) -> None:
        fields.append((f"{name}: {value}\r\n".encode("ascii"),))
        added.append(name)

    if b"date" not in present:
        add_text("Date", _date_text(int(submission.received)))
    if b"message-id" not in present:
        add_text("Message-ID", f"<{submission.id}@{rules.hostname}>")
    if b"feedback-id" not in present:
        stream = submission.tags[0] if submission.tags else "mail"
        add_text(
            "Feedback-ID", _feedback_id(stream, submission.credential, submission.account, rules)
        )
    if rules.unsubscribe_url is not None and b"list-unsubscribe" not in present:
        url = f"<{rules.unsubscribe_url}/".encode("ascii")
        end = tail(LinkKind.UNSUBSCRIBE, b"").encode("ascii") + b">"
        add("List-Unsubscribe", url, Hole(LinkKind.UNSUBSCRIBE, 0, b""), end)
        if b"list-unsubscribe-post" not in present:
            add_text("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
    return Header(tuple(fields), tuple(added), tuple(removed))


def _is_blank(raw: bytes, field: Field) -> bool:
    """Whether a field says nothing; for such a Date or Message-ID receivers refuse mail."""
    return raw[field.value : field.end].strip() in {b"", b"<>"}


def _field_octets(raw: bytes, field: Field) -> bytes:
    colon = field.start + len(field.name)
    octets = raw[field.start : field.end]
    if field.value != colon + 1:
        octets = raw[field.start : colon] + b":" + raw[field.value : field.end]
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


@lru_cache(4096)
def _feedback_id(stream: str, login: str, account: str, rules: HeaderRules) -> str:
    """`stream:login:account:sender`, the login hashed, as Gmail's feedback loop reads it."""
    parts = stream, rules.pseudonym(login), account, rules.feedback_sender
    return ":".join(_TOKEN.sub("", part)[:40] or "-" for part in parts)
