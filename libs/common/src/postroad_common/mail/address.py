"""Mailboxes as SMTP knows them (RFC 5321 section 4.1.2, RFC 6531).

Parsed strictly but for two things that addresses in use do not keep to: where dots stand in the
local part, and that it has at most 64 octets (VERP, SRS, list managers). Only the whole is bounded.

Display names and header syntax are elsewhere: this is what stands between `<` and `>`.
"""

import functools
import ipaddress
import re
from dataclasses import dataclass

import idna

MAX_DOMAIN = 255  # octets, RFC 5321 section 4.5.3.1.2
MAX_PATH = 254  # octets without the angle brackets, RFC 5321 section 4.5.3.1.3

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_ATEXT_UTF8 = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]"
# Dots may stand anywhere, against RFC 5321: docomo and au gave out `a..b@` and `a.@`.
_DOT_STRING = re.compile(rf"(?:{_ATEXT}|\.)+")
_DOT_STRING_UTF8 = re.compile(rf"(?:{_ATEXT_UTF8}|\.)+")
_QUOTED = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*"')
_QUOTED_UTF8 = re.compile(r'"(?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LITERAL = re.compile(r"\[(?:IPv6:([0-9A-Fa-f:.]+)|([0-9.]+))\]")


class AddressError(ValueError):
    """Text that is no mailbox; the message says why, fit for a reply to the client."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address: `local` as it was written, `domain` in lower case and A-label form."""

    local: str
    domain: str

    @property
    def text(self) -> str:
        """`local@domain`."""
        return f"{self.local}@{self.domain}"

    @property
    def identity(self) -> str:
        """The same text for two spellings of one mailbox; it is for comparing only.

        Quotes and backslashes are no part of a local part (RFC 5321 section 4.1.2).
        """
        if not self.local.startswith('"'):
            return self.text
        local = _QUOTED_PAIR.sub(r"\1", self.local[1:-1])
        return f"{local}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only an SMTPUTF8 server can take this address."""
        return not self.local.isascii()

    def __str__(self) -> str:
        return self.text


@functools.lru_cache(maxsize=8192)
def normalise_domain(domain: str) -> str:
    """Return `domain` in lower case, with U-labels turned into A-labels; address literals checked.

    Raises:
        AddressError: it is not a domain.
    """
    if domain.startswith("["):
        return _normalise_literal(domain)
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise AddressError("the domain is not a valid internationalised name") from error
    labels = domain.split(".")
    if len(domain) > MAX_DOMAIN or not domain:
        raise AddressError("the domain is empty or longer than 255 octets")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressError("the domain is not a valid host name")
    if len(labels) > 1 and labels[-1].isdigit():
        raise AddressError("the domain is a bare IP address; write it as [192.0.2.1]")
    return domain.lower()


def _normalise_literal(domain: str) -> str:
    match = _LITERAL.fullmatch(domain)
    if not match:
        raise AddressError("the address literal is not valid")
    try:
        if match[1]:
            return f"[IPv6:{ipaddress.IPv6Address(match[1])}]"
        return f"[{ipaddress.IPv4Address(match[2])}]"
    except ValueError as error:
        raise AddressError("the address literal is not an IP address") from error


@functools.lru_cache(maxsize=8192)
def parse_mailbox(text: str, *, smtputf8: bool = False) -> Mailbox:
    """Return the mailbox that `text` (without angle brackets) stands for.

    Source routes, comments and addresses without a domain are refused. Characters above U+007F
    in the local part need `smtputf8`.

    Raises:
        AddressError: with the reason.
    """
    local, at, domain = text.rpartition("@")
    if not at:
        raise AddressError("the address has no domain")
    if text.startswith("@") or ":" in local.split('"', 1)[0]:
        raise AddressError("source routes are not accepted")
    if not local:
        raise AddressError("the address has no local part")
    if not smtputf8 and not text.isascii():
        raise AddressError("an internationalised address needs the SMTPUTF8 parameter")
    dot_string, quoted = (_DOT_STRING_UTF8, _QUOTED_UTF8) if smtputf8 else (_DOT_STRING, _QUOTED)
    if not (dot_string.fullmatch(local) or quoted.fullmatch(local)):
        raise AddressError("the local part has characters that are not allowed")
    mailbox = Mailbox(local=local, domain=normalise_domain(domain))
    if len(mailbox.text.encode("utf-8", "replace")) > MAX_PATH:
        raise AddressError("the address is longer than 254 octets")
    return mailbox


def domain_of(address: str) -> str:
    """Return the part after the last `@` in lower case; the empty string for the null sender."""
    return address.rpartition("@")[2].lower()
