"""xtext, the encoding of ENVID and ORCPT values (RFC 3461 section 4)."""

import re

_HEX = re.compile(r"\+([0-9A-F]{2})")
_VALID = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")


def encode(text: str) -> str:
    """`text` as xtext. Characters outside of printable ASCII, `+` and `=` become `+XX`.

    Raises:
        ValueError: `text` has characters above U+007F, which xtext cannot carry.
    """
    octets = text.encode("ascii")
    return "".join(
        chr(octet) if 33 <= octet <= 126 and octet not in b"+=" else f"+{octet:02X}"
        for octet in octets
    )


def decode(text: str) -> str:
    """Return the text that xtext stands for.

    Raises:
        ValueError: `text` is not xtext, or encodes an octet above 127 or a control character
            that could break out of the header it will be written into (CR, LF, NUL).
    """
    if not _VALID.fullmatch(text):
        raise ValueError("not xtext")
    decoded = _HEX.sub(lambda match: chr(int(match[1], 16)), text)
    if any(char in "\r\n\0" or char > "\x7f" for char in decoded):
        raise ValueError("xtext encodes a character that is not allowed")
    return decoded
