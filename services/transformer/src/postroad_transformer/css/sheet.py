"""A stylesheet read (CSS Syntax 3): its rules for every screen, each with its declarations.

Only style rules at the top count. At-rules and rules within rules are passed over with their
blocks, because they stay in the style element. Every text is gone through once from the left; what
a browser throws away as a parse error is thrown away here.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from postroad_transformer.css.selectors import Selector, parse_selectors

_PIECE = re.compile(
    r"/\*.*?(?:\*/|\Z)"
    r"""|"(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?"""
    # The rest of url(, where what is inside has no quotes (4.3.6).
    r"""|(?<=[uU][rR][lL])(?<![\w\\-][uU][rR][lL])\((?![ \t\n]*+["'])(?:[^)\\]|\\.)*+\)?"""
    r"|<!--|\\.?|[{}()\[\];:!@<]"
    r"""|[^{}()\[\];:!@<"'\\/]++|/""",
    re.DOTALL,
)
_STRING = re.compile(r""""(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+'""", re.DOTALL)
_URL = re.compile(r"""\([ \t\n]*+(?:[^"'()\\ \t\n]|\\[^\n])*+[ \t\n]*+\)""")
_NAME = re.compile(
    r"[ \t\n]*+((?:--|-?(?:[A-Za-z_]|[^\x00-\x7f]))(?:[\w-]|[^\x00-\x7f])*+)[ \t\n]*+", re.ASCII
)
_KEYWORD = re.compile(r"-{0,2}(?:[A-Za-z_\\]|[^\x00-\x7f])")
_IMPORTANT = re.compile(r"[ \t\n]*+important[ \t\n]*+", re.IGNORECASE)
_WHITE = re.compile(r"[ \t\n]++")
_START = re.compile(r"(?:[ \t\n]++|-->)++")
_CLOSING = {"{": "}", "(": ")", "[": "]"}
_NO_ESCAPE = frozenset({"\\", "\\\n"})
_CLOSERS = frozenset(_CLOSING.values())
_QUOTES = frozenset({'"', "'"})


class Declaration(NamedTuple):
    """One declaration of a rule: `name` in lower case, unless it is a custom property."""

    name: str
    value: str
    important: bool


class StyleRule(NamedTuple):
    """A style rule; it has at least one selector and one declaration."""

    selectors: tuple[Selector, ...]
    declarations: tuple[Declaration, ...]


def parse_sheet(css: str) -> tuple[StyleRule, ...]:
    """Return the style rules of the sheet `css`, in order."""
    for line_end in ("\r\n", "\r", "\f"):
        css = css.replace(line_end, "\n")
    pieces = _PIECE.findall(css.replace("\0", "\ufffd"))
    if pieces and pieces[-1][0] in "\"'" and not _STRING.fullmatch(pieces[-1]):
        pieces[-1] += pieces[-1][0]  # the end of the sheet ends a string
    return tuple(_Reader(pieces).read_rules())


def what_closes(css: str) -> str:
    """Return what ends the comment, string, address and blocks that `css` leaves open.

    The end of a `style` attribute does that as well (CSS Syntax 3, 4.3 and 5.4); what is put behind
    it would otherwise be inside.
    """
    pieces = _PIECE.findall(css)
    if not pieces:
        return ""
    last, blocks = pieces[-1], []
    for piece in pieces:
        if piece in _CLOSING:
            blocks.append(_CLOSING[piece])
        elif blocks and piece == blocks[-1]:
            blocks.pop()
    end = ""
    if last == "\\":  # in a string nothing, elsewhere the character for what is not there
        before = pieces[-2] if len(pieces) > 1 else ""
        is_string = before[:1] in _QUOTES and not _STRING.fullmatch(before)
        end = f"\n{before[0]}" if is_string else "fffd "
    elif last[0] in _QUOTES and not _STRING.fullmatch(last):
        end = last[0]
    elif last.startswith("/*") and (len(last) < 4 or not last.endswith("*/")):
        end = "*/"
    elif len(last) > 1 and last[0] == "(" and not last.endswith(")"):
        end = ")"
    return end + "".join(reversed(blocks))


class _Reader:
    """Reads pieces from the left, each once."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces
        self.at = 0

    def read_rules(self) -> list[StyleRule]:
        pieces, rules = self.pieces, []
        while self.at < len(pieces):
            piece = pieces[self.at]
            if piece == "<!--" or piece.startswith("/*"):
                self.at += 1
            elif piece == "@" and self._is_keyword():
                self._skip_at_rule()
            elif _START.fullmatch(piece):
                self.at += 1
            else:
                prelude = self._read_prelude()
                if self.at >= len(pieces):
                    break
                selectors = parse_selectors(prelude)
                self.at += 1
                if not selectors:
                    self._skip_block("}")
                elif declarations := self._read_declarations():
                    rules.append(StyleRule(selectors, tuple(declarations)))
        return rules

    def _read_prelude(self) -> str:
        """Return what stands before the `{` of a rule, and go there; to the end without one."""
        pieces, start = self.pieces, self.at
        while self.at < len(pieces) and (piece := pieces[self.at]) != "{":
            self.at += 1
            if piece in _CLOSING:
                self._skip_block(_CLOSING[piece])
        first = pieces[start]
        begin = _START.match(first)
        if begin:
            first = first[begin.end() :]
        return (first + "".join(pieces[start + 1 : self.at])).strip(" \t\n")

    def _is_keyword(self) -> bool:
        """Whether the `@` here begins the name of an at-rule."""
        after = self.pieces[self.at + 1 : self.at + 2]
        return bool(after) and bool(_KEYWORD.match(after[0]))

    def _skip_at_rule(self) -> None:
        """Go behind an at-rule: its semicolon, its block, or the end of the block it is in."""
        pieces = self.pieces
        while self.at < len(pieces):
            piece = pieces[self.at]
            if piece == "}":
                return
            self.at += 1
            if piece == ";":
                return
            if piece in _CLOSING:
                self._skip_block(_CLOSING[piece])
                if piece == "{":
                    return

    def _skip_block(self, closer: str) -> bool:
        """Go behind the end of the block that is open; False if it is the end of the sheet."""
        pieces = self.pieces
        open_blocks = [closer]
        while self.at < len(pieces):
            piece = pieces[self.at]
            self.at += 1
            if piece in _CLOSING:
                open_blocks.append(_CLOSING[piece])
            elif piece == open_blocks[-1]:
                open_blocks.pop()
                if not open_blocks:
                    return True
        return False

    def _read_declarations(self) -> list[Declaration]:
        """Return the declarations of a rule, and go behind its block."""
        pieces = self.pieces
        found: list[Declaration] = []
        while self.at < len(pieces):
            piece = pieces[self.at]
            if piece == "}":
                self.at += 1
                break
            if piece == "@" and self._is_keyword():
                self._skip_at_rule()
            elif piece == ";" or piece.startswith("/*") or _WHITE.fullmatch(piece):
                self.at += 1
            else:
                self._read_declaration(found)
        return found

    def _read_declaration(self, found: list[Declaration]) -> None:
        """Read one declaration, or a rule within the rule, up to its end."""
        pieces, start = self.pieces, self.at
        name = _NAME.fullmatch(pieces[start])
        is_custom = name is not None and name[1].startswith("--")
        stray = False
        while self.at < len(pieces):
            piece = pieces[self.at]
            if piece in {";", "}"}:
                break
            self.at += 1
            if piece in _CLOSING:
                stray = not self._skip_block(_CLOSING[piece]) or stray
                if piece == "{" and not is_custom:
                    return  # a rule within the rule
            elif piece in _CLOSERS:
                stray = True
        colon = start + 1
        while colon < self.at and pieces[colon].startswith("/*"):
            colon += 1
        if name is None or stray or colon >= self.at or pieces[colon] != ":":
            return
        declaration = _declaration(name[1], list(pieces[colon + 1 : self.at]))
        if declaration is not None:
            found.append(declaration)


def _declaration(name: str, pieces: list[str]) -> Declaration | None:
    """Return the declaration whose value are these pieces; None if it is not valid."""
    for index, piece in enumerate(pieces):
        if piece[0] in "\"'":
            if not _STRING.fullmatch(piece):
                return None
            if "'" not in piece and "\\" not in piece:
                pieces[index] = f"'{piece[1:-1]}'"
        elif piece.startswith("/*"):
            pieces[index] = " "
        elif (
            len(piece) > 1 and piece[0] == "(" and not _URL.fullmatch(piece)
        ) or piece in _NO_ESCAPE:
            return None
        elif "\n" in piece or "\t" in piece or "  " in piece:
            pieces[index] = _WHITE.sub(" ", piece)
    while pieces and pieces[-1] == " ":
        pieces.pop()
    important = False
    if "!" in pieces:
        mark = pieces.index("!")
        rest = "".join(pieces[mark + 1 :])
        if not _IMPORTANT.fullmatch(rest):
            return None
        important = True
        del pieces[mark:]
    value = "".join(pieces).strip(" ")
    if name.startswith("--"):
        return Declaration(name, value, important) if value else None
    return Declaration(name.lower(), value, important) if value else None
