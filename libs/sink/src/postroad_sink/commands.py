"""Reads the command lines of a client: verbs, paths and ESMTP parameters (RFC 5321 section 4.1)."""

import re
from dataclasses import dataclass

from postroad_common.mail.parameters import (
    Body,
    MailParameters,
    ParameterError,
    RcptParameters,
)
from postroad_common.mail.reply import Reply
from postroad_sink.extensions import Offer
from postroad_smtp.server import sasl
from postroad_smtp.server.chunking import parse_bdat

_PATH = re.compile(
    rb"(?:FROM|TO):[ \t]*<((?:\"(?:[^\"\\]|\\.)*\"|[^\">\x00-\x20])*)>(?:[ \t]+(.*))?",
    re.IGNORECASE,
)

_BAD_PATH = Reply(
    501, "5.1.7", "The address must stand in angle brackets, as in <user@example.com>"
)
_BAD_TEXT = Reply(553, "5.6.7", "An address beyond ASCII needs SMTPUTF8")
_NOT_OFFERED = Reply(555, "5.5.4", "A parameter of an extension that was not offered")


class CommandError(Exception):
    """The line is not a command that can be carried out; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(frozen=True, slots=True)
class MailCommand:
    """`MAIL FROM`. `words` are the parameters as they came, by keyword."""

    address: str
    words: dict[str, str]
    parameters: MailParameters


@dataclass(frozen=True, slots=True)
class RcptCommand:
    """`RCPT TO`. `words` are the parameters as they came, by keyword."""

    address: str
    words: dict[str, str]


_NO_WORDS: dict[str, str] = {}
_NO_PARAMETERS = MailParameters()


def read_mail(argument: bytes, offer: Offer) -> MailCommand:
    """Parse what follows the word MAIL.

    Raises:
        CommandError: bad syntax, or an extension that is not on offer.
    """
    address, words = _read_path(argument)
    if not words:
        if not address.isascii():
            raise CommandError(_BAD_TEXT)
        return MailCommand(address, _NO_WORDS, _NO_PARAMETERS)
    try:
        parameters = MailParameters.parse(words)
    except ParameterError as error:
        raise CommandError(error.reply) from None
    needed = {
        "SIZE": parameters.size is not None,
        "8BITMIME": parameters.body is not None,
        "SMTPUTF8": parameters.smtputf8,
        "DSN": parameters.ret is not None or parameters.envid is not None,
        "AUTH": parameters.auth is not None,
        "REQUIRETLS": parameters.requiretls,
    }
    if any(used and name not in offer.names for name, used in needed.items()):
        raise CommandError(_NOT_OFFERED)
    if parameters.body is Body.BINARYMIME:
        raise CommandError(_NOT_OFFERED)
    if parameters.size is not None and parameters.size > offer.size:
        raise CommandError(Reply(552, "5.3.4", f"No message above {offer.size} octets"))
    if not (parameters.smtputf8 or address.isascii()):
        raise CommandError(_BAD_TEXT)
    return MailCommand(address, _by_keyword(words), parameters)


def read_rcpt(argument: bytes, offer: Offer, *, smtputf8: bool) -> RcptCommand:
    """Parse what follows the word RCPT; `smtputf8` tells whether MAIL had that parameter.

    Raises:
        CommandError: bad syntax, or DSN parameters although DSN is not on offer.
    """
    address, words = _read_path(argument)
    if not address:
        raise CommandError(Reply(501, "5.1.3", "A recipient needs an address"))
    if not (smtputf8 or address.isascii()):
        raise CommandError(_BAD_TEXT)
    if not words:
        return RcptCommand(address, _NO_WORDS)
    try:
        RcptParameters.parse(words, smtputf8=smtputf8)
    except ParameterError as error:
        raise CommandError(error.reply) from None
    if "DSN" not in offer.names:
        raise CommandError(_NOT_OFFERED)
    return RcptCommand(address, _by_keyword(words))


def read_chunk(argument: bytes) -> tuple[int, bool]:
    """Return what follows BDAT: octets that come, and whether they are the last (RFC 3030).

    Raises:
        CommandError: bad syntax; how many octets follow is then unknown.
    """
    parsed = parse_bdat(argument.decode("ascii", "replace"))
    if parsed is None:
        raise CommandError(Reply(501, "5.5.4", "BDAT needs a number of octets"))
    return parsed


def read_response(text: bytes) -> bytes:
    """Return what a client sends while it authenticates, decoded (RFC 4954).

    Raises:
        CommandError: not base64, or `*`, which ends the exchange.
    """
    if text == sasl.CANCEL:
        raise CommandError(Reply(501, "5.7.0", "Authentication cancelled"))
    try:
        return sasl.decode(text)
    except sasl.NotBase64Error:
        raise CommandError(Reply(501, "5.5.2", "Not base64")) from None


def _read_path(argument: bytes) -> tuple[str, list[str]]:
    match = _PATH.fullmatch(argument)
    if match is None:
        raise CommandError(_BAD_PATH)
    address, tail = match.groups()
    try:
        return address.decode(), tail.decode().split() if tail else []
    except UnicodeDecodeError:
        raise CommandError(Reply(501, "5.5.2", "Neither ASCII nor UTF-8")) from None


def _by_keyword(words: list[str]) -> dict[str, str]:
    return {keyword.upper(): value for keyword, _, value in (word.partition("=") for word in words)}
