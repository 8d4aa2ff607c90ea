"""From the fields of a request to a `Composition`: every value checked, every refusal by field."""

import base64
import binascii
import mimetypes
import re
from urllib.parse import urlsplit

from postroad_common.mail.address import AddressError, parse_mailbox
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.sending.mailboxes import NamedMailbox, parse_list
from postroad_ingress_http.sending.mimebuild import Attachment, Composition, Unsubscribe
from postroad_ingress_http.sending.request import AttachmentFields, SendFields, UnsubscribeFields

MAX_EXTRA_HEADERS = 50

_BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u0085\u2028\u2029]")
_EXTRA_NAME = re.compile(r"x-[a-z0-9-]{1,70}", re.IGNORECASE)
EXTRA_NAMES = frozenset(
    {
        "auto-submitted",
        "comments",
        "importance",
        "in-reply-to",
        "keywords",
        "list-archive",
        "list-help",
        "list-id",
        "list-owner",
        "list-post",
        "organization",
        "precedence",
        "priority",
        "references",
        "sensitivity",
    }
)
"""Header fields beside `x-…` that a request may add to a message that is built."""
_CID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,100}(?:@[A-Za-z0-9.-]{1,100})?")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*", re.IGNORECASE)
_BUILT_FIELDS = (
    "sender", "to", "cc", "replyto", "subject", "text", "html", "attachments", "extra",
    "unsubscribe",
)  # fmt: skip


def compose(request: SendFields) -> Composition:
    """Return what the message of `request` is built from.

    Raises:
        ApiError: 400, naming the field.
    """
    if request.sender is None:
        raise ApiError(
            400, "Give a complete message in `mime`, or `from` to build one.",
            code="missing", field="mime",
        )  # fmt: skip
    if request.text is None and request.html is None:
        raise ApiError(400, "Give `text` or `html`.", code="missing", field="text")
    senders = _mailboxes("from", [request.sender])
    if len(senders) != 1:
        raise bad_field("from", "Give exactly one sender.")
    return Composition(
        sender=senders[0],
        to=_mailboxes("to", request.to),
        cc=_mailboxes("cc", request.cc),
        reply_to=_mailboxes("replyto", request.replyto),
        subject=_line("subject", request.subject or ""),
        text=request.text,
        html=request.html,
        attachments=[
            _attachment(number, entry) for number, entry in enumerate(request.attachments or ())
        ],
        extra=_extra(request.extra or {}),
        unsubscribe=_unsubscribe(request.unsubscribe),
    )


def refuse_built_fields(request: SendFields) -> None:
    """Refuse fields that would be lost because the message was submitted whole.

    Raises:
        ApiError: 400, naming the first of them.
    """
    for name in _BUILT_FIELDS:
        if getattr(request, name) is not None:
            raise bad_field(
                "from" if name == "sender" else name,
                "This field builds a message; with `mime` (or `body`) it would be ignored.",
            )


def _mailboxes(field: str, texts: list[str] | None) -> list[NamedMailbox]:
    try:
        return [mailbox for text in texts or () for mailbox in parse_list(text)]
    except AddressError as error:
        raise bad_field(field, f"Not a list of addresses: {error}.") from None


def _line(field: str, text: str) -> str:
    if _BREAKS.search(text):
        raise bad_field(field, "Control characters and line breaks are not allowed here.")
    return text


def _extra(headers: dict[str, str]) -> list[tuple[str, str]]:
    if len(headers) > MAX_EXTRA_HEADERS:
        raise bad_field("extra", f"At most {MAX_EXTRA_HEADERS} headers.")
    found = []
    for name, value in headers.items():
        if not _EXTRA_NAME.fullmatch(name) and name.lower() not in EXTRA_NAMES:
            raise bad_field(
                "extra",
                f"A header is x- and letters, digits, -; or {', '.join(sorted(EXTRA_NAMES))}.",
            )
        if len(value) > 2000:
            raise bad_field(f"extra.{name}", "At most 2000 characters.")
        found.append((name, _line(f"extra.{name}", value)))
    return found


def _unsubscribe(fields: UnsubscribeFields | None) -> Unsubscribe | None:
    if fields is None:
        return None
    if not fields.email and not fields.url:
        raise bad_field("unsubscribe", "Give `email`, `url` or both.")
    email = None
    if fields.email:
        try:
            email = parse_mailbox(fields.email).text
        except AddressError as error:
            raise bad_field("unsubscribe.email", f"Not an e-mail address: {error}.") from None
    if fields.url:
        _check_url("unsubscribe.url", fields.url)
    if fields.oneclick and not (fields.url or "").startswith("https://"):
        raise bad_field("unsubscribe.oneclick", "One click needs an https `url` (RFC 8058).")
    return Unsubscribe(email=email, url=fields.url or None, one_click=fields.oneclick)


def _check_url(field: str, url: str) -> None:
    printable = url.isascii() and url.isprintable() and not set(url) & set(' <>"')
    try:
        parts = urlsplit(url)
    except ValueError:
        printable = False
    if not printable or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise bad_field(field, "Give an http or https URL.")


def _attachment(number: int, fields: AttachmentFields) -> Attachment:
    where = f"attachments.{number}"
    if fields.data is None:
        raise ApiError(400, "Give `data` or `url`.", code="missing", field=f"{where}.data")
    if fields.url is not None:
        raise bad_field(f"{where}.url", "Give either `data` or `url`, not both.")
    name = _line(f"{where}.name", fields.name or f"attachment-{number + 1}")
    media_type = fields.type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise bad_field(f"{where}.type", "Give a media type such as application/pdf.")
    if media_type.lower().startswith(("multipart/", "message/")):
        raise bad_field(
            f"{where}.type",
            "Such a part may not be encoded in base64 (RFC 2046); hand the message in as `mime`.",
        )
    try:
        data = base64.b64decode("".join(fields.data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise bad_field(f"{where}.data", "This is not base64.") from None
    if fields.cid is not None and not _CID.fullmatch(fields.cid):
        raise bad_field(f"{where}.cid", "Give letters, digits and signs, and @domain or not.")
    return Attachment(data=data, name=name, media_type=media_type, cid=fields.cid)
