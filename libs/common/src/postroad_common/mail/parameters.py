"""Parameters of MAIL and RCPT as typed values with a parser and a formatter that round-trip.

Sources: SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY and
ORCPT (RFC 3461), AUTH (RFC 4954), REQUIRETLS (RFC 8689), ORCPT beyond ASCII (RFC 6533).
"""

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from postroad_common.mail import unitext, xtext
from postroad_common.mail.reply import Reply

MAX_ENVID = 100  # characters, RFC 3461 section 4.4
MAX_ORCPT = 500  # characters, RFC 3461 section 4.2


class ParameterError(ValueError):
    """A parameter that is not known or not well formed, with the reply it deserves."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Ret(enum.StrEnum):
    """What a DSN shall return of the message."""

    FULL = "FULL"
    HDRS = "HDRS"


class Body(enum.StrEnum):
    """The kind of content the client announces."""

    SEVENBIT = "7BIT"
    EIGHTBITMIME = "8BITMIME"
    BINARYMIME = "BINARYMIME"


class Notify(enum.StrEnum):
    """When a DSN is wanted."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


def _bad(text: str) -> ParameterError:
    return ParameterError(Reply(501, "5.5.4", text))


def _unknown(keyword: str, command: str) -> ParameterError:
    shown = keyword if keyword.isprintable() and keyword.isascii() else "?"
    return ParameterError(
        Reply(555, "5.5.4", f"{command} parameter {shown[:40]} is not recognised; leave it out")
    )


def _split(words: Iterable[str], command: str) -> Iterator[tuple[str, str | None]]:
    seen = set()
    for word in words:
        keyword, equals, value = word.partition("=")
        keyword = keyword.upper()
        if keyword in seen:
            raise _bad(f"{command} parameter {keyword[:40]} was given twice")
        seen.add(keyword)
        yield keyword, value if equals else None


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What may follow `MAIL FROM:<…>`. `size` is in octets, `envid` and `auth` are decoded."""

    size: int | None = None
    body: Body | None = None
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    requiretls: bool = False
    auth: str | None = None

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Return the parameters in `words`; keywords in any case, the case of values is kept.

        Raises:
            ParameterError: `501 5.5.4` for bad syntax, `555 5.5.4` for an unknown keyword.
        """
        values: dict[str, object] = {}
        for keyword, value in _split(words, "MAIL"):
            match keyword:
                case "SIZE":
                    if (
                        value is None
                        or not (value.isascii() and value.isdigit())
                        or len(value) > 20
                    ):
                        raise _bad("SIZE must be a number of octets, as in SIZE=1024")
                    values["size"] = int(value)
                case "BODY":
                    try:
                        values["body"] = Body((value or "").upper())
                    except ValueError:
                        raise _bad("BODY must be 7BIT, 8BITMIME or BINARYMIME") from None
                case "SMTPUTF8" | "REQUIRETLS":
                    if value is not None:
                        raise _bad(f"{keyword} takes no value")
                    values[keyword.lower()] = True
                case "RET":
                    try:
                        values["ret"] = Ret((value or "").upper())
                    except ValueError:
                        raise _bad("RET must be FULL or HDRS") from None
                case "ENVID":
                    values["envid"] = _decode("ENVID", value, MAX_ENVID)
                case "AUTH":
                    values["auth"] = "" if value == "<>" else _decode("AUTH", value, MAX_ORCPT)
                case _:
                    raise _unknown(keyword, "MAIL")
        return cls(**values)  # type: ignore[arg-type]  # each value was made for its field above

    def format(self) -> list[str]:
        """Return the words to send, in a fixed order."""
        words = []
        if self.size is not None:
            words.append(f"SIZE={self.size}")
        if self.body is not None:
            words.append(f"BODY={self.body}")
        if self.smtputf8:
            words.append("SMTPUTF8")
        if self.ret is not None:
            words.append(f"RET={self.ret}")
        if self.envid is not None:
            words.append(f"ENVID={xtext.encode(self.envid)}")
        if self.requiretls:
            words.append("REQUIRETLS")
        if self.auth is not None:
            words.append(f"AUTH={xtext.encode(self.auth) or '<>'}")
        return words


def _decode(keyword: str, value: str | None, limit: int) -> str:
    if not value or len(value) > limit:
        raise _bad(f"{keyword} needs a value of 1 to {limit} characters")
    try:
        return xtext.decode(value)
    except ValueError:
        raise _bad(f"{keyword} must be xtext (RFC 3461 section 4)") from None


@dataclass(frozen=True, slots=True)
class OriginalRecipient:
    """ORCPT: the kind of address (`rfc822`, `utf-8`, …) and the address, decoded."""

    kind: str
    address: str

    @classmethod
    def parse(cls, value: str) -> Self:
        """Return `rfc822;user+2Bx@example.com`, or an utf-8 address (RFC 6533), decoded.

        Raises:
            ValueError: not of that form.
        """
        kind, semicolon, encoded = value.partition(";")
        named = kind.isascii() and kind.replace("-", "").isalnum()
        if not semicolon or not encoded or not named:
            raise ValueError("ORCPT must have the form rfc822;address")
        return cls(kind, unitext.decode(encoded) if _is_utf8(kind) else xtext.decode(encoded))

    def __str__(self) -> str:
        if _is_utf8(self.kind) or not self.address.isascii():
            return f"utf-8;{unitext.encode(self.address)}"
        return f"{self.kind};{xtext.encode(self.address)}"


def _is_utf8(kind: str) -> bool:
    return kind.lower() == "utf-8"


@dataclass(frozen=True, slots=True)
class RcptParameters:
    """What may follow `RCPT TO:<…>`. An empty `notify` means: not given."""

    notify: frozenset[Notify] = frozenset()
    orcpt: OriginalRecipient | None = None

    @classmethod
    def parse(cls, words: Sequence[str], *, smtputf8: bool = False) -> Self:
        """Return the parameters in `words`. `smtputf8`: the message was announced with it.

        Raises:
            ParameterError: `501 5.5.4` for bad syntax, `555 5.5.4` for an unknown keyword.
        """
        notify: frozenset[Notify] = frozenset()
        orcpt = None
        for keyword, value in _split(words, "RCPT"):
            match keyword:
                case "NOTIFY":
                    notify = _parse_notify(value)
                case "ORCPT":
                    if not value or len(value) > MAX_ORCPT:
                        raise _bad(f"ORCPT needs a value of 1 to {MAX_ORCPT} characters")
                    if not value.isascii() and not smtputf8:
                        raise _bad("ORCPT beyond ASCII needs SMTPUTF8 with MAIL")
                    try:
                        orcpt = OriginalRecipient.parse(value)
                    except ValueError:
                        raise _bad("ORCPT must be a type, a semicolon and xtext") from None
                case _:
                    raise _unknown(keyword, "RCPT")
        return cls(notify, orcpt)

    def format(self) -> list[str]:
        """Return the words to send, in a fixed order."""
        words = []
        if self.notify:
            words.append("NOTIFY=" + ",".join(sorted(self.notify)))
        if self.orcpt is not None:
            words.append(f"ORCPT={self.orcpt}")
        return words

    def united(self, other: Self) -> Self:
        """Return what satisfies both, for a recipient that is named twice."""
        notify = unite_notify(self.notify, other.notify)
        return replace(self, notify=notify, orcpt=self.orcpt or other.orcpt)


def unite_notify(one: frozenset[Notify], other: frozenset[Notify]) -> frozenset[Notify]:
    """Return the wishes that satisfy both; to wish for nothing means FAILURE (RFC 3461 4.1)."""
    if not one and not other:
        return one
    united = (one or _DEFAULT_NOTIFY) | (other or _DEFAULT_NOTIFY)
    return united - {Notify.NEVER} or united


_DEFAULT_NOTIFY = frozenset({Notify.FAILURE})


def _parse_notify(value: str | None) -> frozenset[Notify]:
    wishes = (value or "").upper().split(",")
    try:
        notify = frozenset(Notify(wish) for wish in wishes)
    except ValueError:
        raise _bad("NOTIFY must be NEVER or a list of SUCCESS, FAILURE, DELAY") from None
    if len(notify) != len(wishes) or (Notify.NEVER in notify and len(notify) > 1):
        raise _bad("NOTIFY=NEVER stands alone, and nothing is named twice")
    return notify
