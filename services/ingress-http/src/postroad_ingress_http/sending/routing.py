"""Who a REST request is for, until when, and what its sender wants to hear.

Addresses, times and DSN wishes. Pure; the present comes in as an argument.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from postroad_common.mail.address import AddressError, Mailbox, parse_mailbox
from postroad_common.mail.parameters import OriginalRecipient
from postroad_common.schemas.submission import NotifyWish, RetWish
from postroad_ingress_http.http.errors import bad_field
from postroad_ingress_http.http.moments import read_time
from postroad_ingress_http.sending.mailboxes import parse_list
from postroad_ingress_http.sending.request import (
    DsnFields,
    SendFields,
    names_recipients,
    require_recipient,
)

MAX_AHEAD_SECONDS = 30 * 86_400

_NOTIFY: dict[str, NotifyWish] = {
    "NEVER": "never",
    "SUCCESS": "success",
    "FAILURE": "failure",
    "DELAY": "delay",
}
_RET: dict[str, RetWish] = {"FULL": "full", "HDRS": "hdrs"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# A comma between quotes is part of a local part. The last way out is a quote that never closes.
_BETWEEN_COMMAS = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^",])++|"', re.DOTALL)


def read_envelope(text: str | None) -> Mailbox | None:
    """Return the sender address; None for the null sender (left out, empty or `<>`).

    Raises:
        ApiError: 400, `envelope` is no address.
    """
    if text is None or text.strip() in {"", "<>"}:
        return None
    return _mailbox("envelope", text)


class Addressee(NamedTuple):
    """A recipient, and what the request knows of them: the data of this one."""

    mailbox: Mailbox
    data: Mapping[str, Any]


def read_recipients(request: SendFields, limit: int) -> list[Addressee]:
    """Return the recipients without repetitions, in their order; at most `limit`.

    Raises:
        ApiError: 400, naming the entry that is no address.
    """
    require_recipient(request)
    found: dict[str, Addressee] = {}
    if request.recipient is not None:
        first = _mailbox("recipient", request.recipient)
        found[first.text] = Addressee(first, {})
    header = () if names_recipients(request) else ("to", "cc")
    for field, entry, data in (
        *_entries("recipients", request.recipients),
        *(entry for name in header for entry in _entries(name, getattr(request, name))),
        *_entries("bcc", request.bcc),
    ):
        for mailbox in _named(field, entry) if field[:2] in header else read_entry(field, entry):
            found.setdefault(mailbox.identity, Addressee(mailbox, data))
        if len(found) > limit:
            raise bad_field(
                "recipients",
                f"At most {limit} recipients in one request.",
                code="too_many_recipients",
            )
    if not found:
        raise bad_field("recipients", "Name at least one recipient.", code="missing")
    return list(found.values())


def _entries(
    field: str, entries: list[str] | dict[str, dict[str, object] | None] | str | None
) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    if isinstance(entries, str):
        return [(field, entries, {})]
    data = entries if isinstance(entries, dict) else {}
    return (
        (f"{field}.{number}", entry, data.get(entry) or {})
        for number, entry in enumerate(entries or ())
    )


def _named(field: str, entry: str) -> list[Mailbox]:
    """Return the addresses of a header field, without the names that stand with them."""
    try:
        return [one.mailbox for one in parse_list(entry)]
    except AddressError as error:
        raise bad_field(field.partition(".")[0], f"Not a list of addresses: {error}.") from None


def read_entry(field: str, entry: str) -> list[Mailbox]:
    """Return the addresses of one entry, which may be a list with commas.

    Raises:
        ApiError: 400, one is no address.
    """
    return [_mailbox(field, text) for text in _BETWEEN_COMMAS.findall(entry) if text.strip()]


def _mailbox(field: str, text: str) -> Mailbox:
    text = text.strip(" ")
    if _CONTROL.search(text):
        raise bad_field(field, "Control characters and line breaks are not allowed here.")
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    try:
        return parse_mailbox(text, smtputf8=True)
    except AddressError as error:
        raise bad_field(field, f"Not an e-mail address: {error}.") from None


def read_schedule(
    request: SendFields, now: float, deliver_seconds: float
) -> tuple[float | None, float]:
    """When to send (None: at once) and when to give up, in Unix seconds.

    `deliver_seconds` is how long delivery is tried when the request does not say.

    Raises:
        ApiError: 400, a time in the past or too far away.
    """
    send_at = read_time("sendat", request.sendat) if request.sendat else None
    if send_at is not None and send_at > now + MAX_AHEAD_SECONDS:
        raise bad_field("sendat", "Sending can be delayed by at most 30 days.")
    if send_at is not None and send_at <= now:
        send_at = None
    if not request.maxdelivertime:
        return send_at, (send_at or now) + deliver_seconds
    expires = read_time("maxdelivertime", request.maxdelivertime)
    if expires <= (send_at or now):
        raise bad_field("maxdelivertime", "This time is past, or before `sendat`.")
    return send_at, min(expires, now + MAX_AHEAD_SECONDS + deliver_seconds)


def read_notify(dsn: DsnFields | None) -> tuple[NotifyWish, ...]:
    """Return the wishes in `dsn.notify`; none when it is not given.

    Raises:
        ApiError: 400.
    """
    if dsn is None or not dsn.notify:
        return ()
    words = [word.strip().upper() for entry in dsn.notify for word in entry.split(",")]
    if not all(word in _NOTIFY for word in words) or ("NEVER" in words and len(words) > 1):
        raise bad_field("dsn.notify", "Give NEVER alone, or some of SUCCESS, FAILURE and DELAY.")
    return tuple(_NOTIFY[word] for word in dict.fromkeys(words))


def read_ret(dsn: DsnFields | None) -> RetWish | None:
    """Return what a DSN shall return.

    Raises:
        ApiError: 400.
    """
    if dsn is None or not dsn.ret:
        return None
    ret = _RET.get(dsn.ret.upper())
    if ret is None:
        raise bad_field("dsn.ret", "Give FULL or HDRS.")
    return ret


def read_envid(dsn: DsnFields | None) -> str | None:
    """Return the envelope id, printable ASCII.

    Raises:
        ApiError: 400.
    """
    if dsn is None or not dsn.envid:
        return None
    if not (dsn.envid.isascii() and dsn.envid.isprintable()):
        raise bad_field("dsn.envid", "Only printable ASCII is allowed here.")
    return dsn.envid


def read_orcpt(dsn: DsnFields | None) -> str | None:
    """Return the original recipient as `type;address`.

    Several recipients may have one: the members of an alias or list (RFC 3461 section 5.2.7).

    Raises:
        ApiError: 400.
    """
    if dsn is None or not dsn.orcpt:
        return None
    kind, semicolon, address = dsn.orcpt.partition(";")
    if not semicolon:
        kind, address = "rfc822", dsn.orcpt
    if not address or not address.isprintable() or not kind.replace("-", "").isalnum():
        raise bad_field("dsn.orcpt", "Give it as `rfc822;address`.")
    original = OriginalRecipient(kind.lower(), address)
    return f"{original.kind};{original.address}"
