"""What follows the words MAIL and RCPT, parsed; whether it is welcome is decided elsewhere.

Customers' clients are told what is wrong. Strangers' robots, which bring returns, are understood
where that is possible (`forgiving`): a return that is refused is lost.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from postroad_common.mail.address import AddressError, Mailbox, parse_mailbox
from postroad_common.mail.parameters import (
    Body,
    MailParameters,
    ParameterError,
    RcptParameters,
)
from postroad_common.mail.reply import Reply
from postroad_ingress_smtp import replies

_PATH: Final = re.compile(r' ?<((?:"(?:[^"\\]|\\.)*"|[^"<>])*)>(?: (.*))?', re.DOTALL)
_MEANT: Final = re.compile(r"\s*:\s*(?:<(.*?)>|([^\s<>]*))(?:\s+(.*))?", re.DOTALL)
# RFC 5321 section 4.1.1.3: recognised, and ignored.
_ROUTE: Final = re.compile(r"\s*@(?:\[[^\]]*\]|[^:\[\"])*:\s*")

_Parameters = TypeVar("_Parameters")


@dataclass(frozen=True, slots=True)
class MailCommand:
    """`MAIL FROM:<address> parameters`; the address is empty for the null sender."""

    address: str
    parameters: MailParameters


@dataclass(frozen=True, slots=True)
class RcptCommand:
    """`RCPT TO:<address> parameters`."""

    mailbox: Mailbox
    parameters: RcptParameters


def read_mail(
    argument: str, *, extended: bool, tls: bool, size_limit: int, forgiving: bool = False
) -> MailCommand | Reply:
    """Return what `argument` says, or the refusal it deserves. Its address is not looked at.

    `extended`: parameters are allowed, because the client said EHLO. `size_limit` is in octets.
    """
    path = _read_path(argument, "FROM", forgiving=forgiving)
    if path is None:
        return replies.MAIL_SYNTAX
    address, words = path
    if words and not extended:
        return replies.PARAMETERS_NEED_EHLO
    parse = MailParameters.parse
    try:
        parameters = _parse_meant(parse, words) if forgiving else parse(words)
    except ParameterError as error:
        return error.reply
    if parameters.body is Body.BINARYMIME and not forgiving:
        return replies.NO_BINARY
    if parameters.requiretls and not tls:
        return replies.REQUIRETLS_NEEDS_TLS
    if parameters.size is not None and parameters.size > size_limit:
        return replies.too_large(size_limit)
    return MailCommand(_without_route(address), parameters)


def read_rcpt(
    argument: str, *, extended: bool, smtputf8: bool, home: str = "", forgiving: bool = False
) -> RcptCommand | Reply:
    """Return what `argument` says, or the refusal it deserves.

    `extended` as for `read_mail`; `smtputf8`: MAIL had that parameter. `home` is the domain of a
    `postmaster` without one.
    """
    path = _read_path(argument, "TO", forgiving=forgiving)
    if path is None:
        return replies.RCPT_SYNTAX
    address, words = path
    if words and not extended:
        return replies.PARAMETERS_NEED_EHLO
    address = _without_route(address.strip() if forgiving else address)
    if not address:
        return replies.NOT_OURS if forgiving else replies.NO_RECIPIENT
    if forgiving and address.lower() == "postmaster":  # RFC 5321 section 4.5.1: it needs no domain
        address += "@" + home

    def parse(given: Sequence[str]) -> RcptParameters:
        return RcptParameters.parse(given, smtputf8=smtputf8 or forgiving)

    try:
        parameters = _parse_meant(parse, words) if forgiving else parse(words)
    except ParameterError as error:
        return error.reply
    if not address.isascii() and not smtputf8:
        return replies.NOT_OURS if forgiving else replies.needs_smtputf8("recipient")
    try:
        mailbox = parse_mailbox(address, smtputf8=smtputf8)
    except AddressError as error:
        return replies.NOT_OURS if forgiving else replies.bad_recipient(str(error))
    return RcptCommand(mailbox, parameters)


def _read_path(argument: str, word: str, *, forgiving: bool) -> tuple[str, list[str]] | None:
    """Return the address behind `word` and the words of the parameters; None for bad syntax."""
    size = len(word)
    if argument[:size].upper() != word:
        return None
    match = _PATH.fullmatch(argument, size + 1) if argument[size : size + 1] == ":" else None
    if match is not None:
        return match[1], (match[2] or "").split()
    match = _MEANT.fullmatch(argument, size) if forgiving else None
    if match is None:
        return None
    return match[1] or match[2] or "", (match[3] or "").split()


def _without_route(address: str) -> str:
    route = _ROUTE.match(address)
    return address if route is None else address[route.end() :]


def _parse_meant(
    parse: Callable[[Sequence[str]], _Parameters], words: Sequence[str]
) -> _Parameters:
    """Return what `parse` makes of those words that it understands."""
    understood: list[str] = []
    for word in words:
        try:
            parse([*understood, word])
        except ParameterError:
            continue
        understood.append(word)
    return parse(understood)
