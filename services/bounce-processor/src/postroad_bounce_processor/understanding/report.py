"""Delivery status notifications: the machine-readable part of RFC 3464 (RFC 6533 included).

`find_report` reads every block of the status part. Which of the recipients matters and what class
of failure it is, `understand` and `classify` decide. Reports without a status part (RFC 6522 allows
none, broken gateways drop it) give a `Report` with no recipients: `formats` reads those.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from postroad_bounce_processor.understanding.passages import own_words
from postroad_common.mail.decoding import decode_text
from postroad_common.mail.mime import Part

MAX_STATUS_BYTES = 256 * 1024
MAX_RECIPIENTS = 1000
MAX_LOOSE_BYTES = 64 * 1024
MAX_FIELD = 4000
MAX_DIAGNOSTIC = 2000

_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]\d)")
_CODE = re.compile(r"(?<![\d.#])([245][0-9]\d)(?=[ \-#]|: |$)")
_UNITEXT = re.compile(r"\\x\{([0-9a-fA-F]{1,6})\}")
_SPACES = re.compile(r"\s+")
_ADDRESS = re.compile(
    r'"(?:[^"\\\r\n]|\\.){1,64}"@[^\s<>;,"]{1,255}|[^\s<>;,"]{1,64}@[^\s<>;,"]{1,255}'
)
_LOOSE = re.compile(r"^[ \t]{0,8}(?:final|original)-recipient[ \t]*:", re.IGNORECASE | re.MULTILINE)
_LOOSE_FIELD = re.compile(r"^[ \t]{0,8}(?:action|status)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_INDENTED_FIELD = re.compile(
    r"^[ \t]{1,8}(?=(?:final-|original-)recipient|action|status|diagnostic-code|remote-mta)",
    re.IGNORECASE | re.MULTILINE,
)
_COMMENT = re.compile(r"\(([^()]{1,300})\)?")
_ACTIONS = {
    "fail": "failed",
    "undel": "failed",
    "delay": "delayed",
    "deliv": "delivered",
    "relay": "relayed",
    "expan": "expanded",
}


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """One per-recipient block (RFC 3464 section 2.3)."""

    final_recipient: str
    original_recipient: str
    action: str
    """One of failed, delayed, delivered, relayed, expanded; empty if it cannot be told."""
    status: str
    """The Status field as `c.s.d`, else that of the diagnostic, else empty."""
    code: int | None
    diagnostic: str
    remote_mta: str
    comment: str = ""
    """What stands in brackets after the status."""


@dataclass(frozen=True, slots=True)
class Report:
    """A whole notification."""

    reporting_mta: str
    envelope_id: str
    recipients: tuple[RecipientReport, ...]


def find_report(mail: Part) -> Report | None:
    """Return the delivery report that this mail is, or None if it is not one.

    Looks at the mail's own parts only: a report inside a returned or forwarded message is that
    message's business.
    """
    status = next((part for part in mail.walk() if part.media_type in _STATUS_TYPES), None)
    if status is None:
        declared = (
            mail.media_type == "multipart/report"
            and mail.parameters.get("report-type", "").lower() == "delivery-status"
        )
        return Report("", "", ()) if declared else None
    text = decode_text(status.content(MAX_STATUS_BYTES), status.parameters.get("charset", ""))
    return _read_status(text)


def find_loose_report(mail: Part) -> Report | None:
    """Return the report whose fields stand in the text, because the MIME structure is broken.

    The mail must be known to come from a daemon: people quote reports, too.
    """
    text = decode_text(mail.raw[mail.start : mail.start + MAX_LOOSE_BYTES], "")
    if not _LOOSE.search(text):
        return None
    text = own_words(text.replace("\r\n", "\n"))
    first = _LOOSE.search(text)
    if first is None or not _LOOSE_FIELD.search(text):
        return None
    report = _read_status(_INDENTED_FIELD.sub("", text))
    return report if any(block.final_recipient for block in report.recipients) else None


def _read_status(text: str) -> Report:
    """Read the fields of a whole notification."""
    reporting_mta = envelope_id = ""
    recipients: list[dict[str, str]] = []
    for block in _blocks(text):
        if "final-recipient" in block or "original-recipient" in block:
            recipients.append(block)
        elif "action" in block or "status" in block:
            if recipients:  # a stray blank line inside one recipient's block
                recipients[-1] = {**block, **recipients[-1]}
            else:
                recipients.append(block)
        if not reporting_mta:
            reporting_mta = _typed(block.get("reporting-mta", ""))
        if not envelope_id:
            envelope_id = block.get("original-envelope-id", "")
        if len(recipients) >= MAX_RECIPIENTS:
            break
    return Report(
        reporting_mta=reporting_mta[:255],
        envelope_id=envelope_id[:255],
        recipients=tuple(read_recipient(block) for block in recipients),
    )


def human_text(mail: Part) -> str:
    """Return the readable parts of a mail, without what is attached as a message."""
    plain = [part.text for part in _readable(mail) if part.media_type != "text/html"][:4]
    if not "".join(plain).strip():
        plain = [part.text for part in _readable(mail) if part.media_type == "text/html"][:2]
    if not plain and mail.media_type.startswith("multipart/"):  # its parts cannot be told apart
        plain = [decode_text(mail.raw[mail.start : mail.start + MAX_LOOSE_BYTES], "")]
        plain = [text.replace("\r\n", "\n") for text in plain]
    return "\n".join(plain)[: 64 * 1024]


def enhanced_status(text: str) -> str:
    """Return the first enhanced status code (RFC 3463) in ``text``, or an empty string."""
    match = _STATUS.search(text)
    return f"{match[1]}.{int(match[2])}.{int(match[3])}" if match else ""


def reply_code(text: str) -> int | None:
    """Return the first three-digit SMTP reply code in ``text``, if there is one."""
    match = _CODE.search(text)
    return int(match[1]) if match else None


def collapse(text: str, limit: int = MAX_DIAGNOSTIC) -> str:
    """Return ``text`` in one line with single spaces, at most ``limit`` characters."""
    return _SPACES.sub(" ", text[: limit * 4]).strip()[:limit]


def _readable(mail: Part) -> Iterator[Part]:
    for part in mail.walk():
        if part.media_type in {"text/plain", "text/html"} and not part.headers.get(
            "content-disposition"
        ).lower().startswith("attachment"):
            yield part


def _blocks(text: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each block; continuation lines are joined, the first field counts."""
    block: dict[str, str] = {}
    name = ""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line.strip():
            if block:
                yield block
            block, name = {}, ""
        elif line[0] in " \t":
            if name and len(block[name]) < MAX_FIELD:
                block[name] += " " + line.strip()[:MAX_FIELD]
        else:
            field, colon, value = line.partition(":")
            name = field.strip().lower() if colon else ""
            if name == "final-recipient" and name in block:  # the blank line is missing
                yield block
                block = {}
            if name in block:
                name = ""
            if name:
                block[name] = value.strip()[:MAX_FIELD]
    if block:
        yield block


def read_recipient(block: dict[str, str]) -> RecipientReport:
    """Return what the fields of one block say; their names are in lower case."""
    diagnostic = collapse(_diagnostic(block.get("diagnostic-code", "")))
    status = enhanced_status(block.get("status", ""))
    stated = enhanced_status(diagnostic[:300])
    if stated and not stated.endswith(".0.0") and (not status or stated[0] == status[0]):
        status = stated  # the receiver's own, where the reporting server has put another
    status = status or stated
    comment = _COMMENT.search(block.get("status", "")[:400])
    return RecipientReport(
        final_recipient=_address(block.get("final-recipient", "")),
        original_recipient=_address(block.get("original-recipient", "")),
        action=_action(block.get("action", ""), status),
        status=status,
        code=reply_code(diagnostic[:200]),
        diagnostic=diagnostic,
        remote_mta=_typed(block.get("remote-mta", ""))[:255],
        comment=comment[1].strip() if comment else "",
    )


def _action(value: str, status: str) -> str:
    word = value.strip().lower()
    for beginning, action in _ACTIONS.items():
        if word.startswith(beginning):
            return action
    return {"5": "failed", "4": "delayed", "2": "delivered"}.get(status[:1], "")


def _diagnostic(value: str) -> str:
    """Drop the type of a diagnostic, but not `x-unix`: what follows is an exit code."""
    return value.strip() if value[:7].lower() == "x-unix;" else _typed(value)


def _typed(value: str) -> str:
    """Drop the type of a typed field: `dns; mx.example.com`, `smtp; 550 no`."""
    kind, semicolon, rest = value.partition(";")
    if semicolon and len(kind) < 40 and " " not in kind.strip():
        return rest.strip()
    return value.strip()


def _address(value: str) -> str:
    kind = value.partition(";")[0].strip().lower()
    text = _typed(value)
    if kind == "utf-8":
        text = _UNITEXT.sub(_unitext, text)
    match = _ADDRESS.search(text)
    return match[0].strip("'()[]") if match else ""


def _unitext(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
        return ""
    return chr(point)
