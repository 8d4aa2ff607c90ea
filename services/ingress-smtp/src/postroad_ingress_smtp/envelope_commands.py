"""What follows the words MAIL and RCPT, parsed; whether it is welcome is decided elsewhere."""

import re
from dataclasses import dataclass
from typing import Final

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


def read_mail(argument: str, *, extended: bool, tls: bool, size_limit: int) -> MailCommand | Reply:
    """Return what `argument` says, or the refusal it deserves. Its address is not looked at.

    `extended`: parameters are allowed, because the client said EHLO. `size_limit` is in octets.
    """
    match = _PATH.fullmatch(argument, 5) if argument[:5].upper() == "FROM:" else None
    if match is None:
        return replies.MAIL_SYNTAX
    words = (match[2] or "").split()
    if words and not extended:
        return replies.PARAMETERS_NEED_EHLO
    try:
        parameters = MailParameters.parse(words)
    except ParameterError as error:
        return error.reply
    if parameters.body is Body.BINARYMIME:
        return replies.NO_BINARY
    if parameters.requiretls and not tls:
        return replies.REQUIRETLS_NEEDS_TLS
    if parameters.size is not None and parameters.size > size_limit:
        return replies.too_large(size_limit)
    return MailCommand(match[1], parameters)


def read_rcpt(argument: str, *, extended: bool, smtputf8: bool) -> RcptCommand | Reply:
    """Return what `argument` says, or the refusal it deserves.

    `extended` as for `read_mail`; `smtputf8`: MAIL had that parameter.
    """
    match = _PATH.fullmatch(argument, 3) if argument[:3].upper() == "TO:" else None
    if match is None:
        return replies.RCPT_SYNTAX
    words = (match[2] or "").split()
    if words and not extended:
        return replies.PARAMETERS_NEED_EHLO
    if not match[1]:
        return replies.NO_RECIPIENT
    try:
        parameters = RcptParameters.parse(words, smtputf8=smtputf8)
    except ParameterError as error:
        return error.reply
    if not match[1].isascii() and not smtputf8:
        return replies.needs_smtputf8("recipient")
    try:
        mailbox = parse_mailbox(match[1], smtputf8=smtputf8)
    except AddressError as error:
        return replies.bad_recipient(str(error))
    return RcptCommand(mailbox, parameters)
