"""SMTP replies (RFC 5321 section 4.2) with enhanced status codes (RFC 3463)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    r"""A reply: three-digit `code`, `enhanced` status (`""` if there is none), and `text`.

    `text` may have several lines, separated by `\n`.
    """

    code: int
    enhanced: str
    text: str

    @property
    def is_positive(self) -> bool:
        """2yz or 3yz."""
        return 200 <= self.code < 400

    @property
    def is_transient(self) -> bool:
        """4yz: the same command may succeed later."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: it will not."""
        return 500 <= self.code < 600

    def wire(self) -> bytes:
        """Return the reply as it goes over the wire, with CRLF; the code repeated on each line."""
        lines = self.text.split("\n")
        enhanced = f"{self.enhanced} " if self.enhanced else ""
        head = "".join(f"{self.code}-{enhanced}{line}\r\n" for line in lines[:-1])
        return f"{head}{self.code} {enhanced}{lines[-1]}\r\n".encode("utf-8", "replace")

    def __str__(self) -> str:
        enhanced = f"{self.enhanced} " if self.enhanced else ""
        return f"{self.code} {enhanced}{self.text.replace(chr(10), ' ')}".rstrip()

    @classmethod
    def parse_lines(cls, lines: Sequence[str]) -> "Reply":
        """Return the reply that `lines` (without line ends) make up.

        The enhanced status is taken off each line and kept once.

        Raises:
            ValueError: not a reply, or its lines have different codes.
        """
        if not lines:
            raise ValueError("no reply")
        code = lines[0][:3]
        if not (len(code) == 3 and code.isascii() and code.isdigit() and "200" <= code <= "599"):
            raise ValueError("a reply must start with three digits")
        texts = []
        enhanced = ""
        for number, line in enumerate(lines):
            last = number == len(lines) - 1
            if line[:3] != code or (line[3:4] != "-" if not last else line[3:4] not in {" ", ""}):
                raise ValueError("the lines of the reply do not belong together")
            text = line[4:]
            match = _ENHANCED.match(text)
            if match and match[1][0] == code[0]:
                enhanced = enhanced or match[1]
                text = text[match.end() :]
            texts.append(text)
        return cls(int(code), enhanced, "\n".join(texts))

    @classmethod
    def parse(cls, text: str) -> "Reply":
        """Return the reply in `text` (undoes `str`). Raises ValueError as `parse_lines` does."""
        return cls.parse_lines([" ".join(text.split())])
