r"""The address of an ORCPT of type utf-8 (RFC 6533 section 3): `\x{20AC}` for what is not ASCII.

Under SMTPUTF8 a client may also send such characters as they are (utf-8-addr-unitext).
"""

import re

_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}|\+([0-9A-F]{2})")
_PLAIN = re.compile(r"[!-*,-<>-\[\]-~\u0080-\U0010ffff]*")


def encode(text: str) -> str:
    r"""Return `text` in ASCII; what is not printable ASCII, and `\`, `+`, `=`, becomes `\x{…}`."""
    return "".join(
        char if "!" <= char <= "~" and char not in "\\+=" else rf"\x{{{ord(char):02X}}}"
        for char in text
    )


def decode(text: str) -> str:
    r"""Return the text that `text` stands for. The `+2B` of xtext is understood, too.

    Raises:
        ValueError: it has characters that must be written as `\x{…}`, or stands for some that could
            break out of the header that it will be written into.
    """
    if not _PLAIN.fullmatch(_EMBEDDED.sub("", text)):
        raise ValueError("not unitext")
    decoded = _EMBEDDED.sub(lambda match: _character(match[1] or match[2]), text)
    if not decoded.isprintable():
        raise ValueError("unitext encodes a character that is not allowed")
    return decoded


def _character(digits: str) -> str:
    point = int(digits, 16)
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
        raise ValueError("not a Unicode character")
    return chr(point)
