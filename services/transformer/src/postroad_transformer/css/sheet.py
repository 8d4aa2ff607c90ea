"""A stylesheet read (CSS Syntax 3): its rules for every screen, each with its declarations.

Style rules at the top count for every screen, those in `@media`, `@supports` and `@container` only
sometimes. Other at-rules and rules within rules are passed over with their blocks, because they
stay in the style element. Every text is gone through from the left; what a browser throws away as a
parse error is thrown away here.
"""

import re
from collections.abc import Iterable, Sequence
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
_CONDITION = re.compile(r"(?:media|supports|container)(?![\w-])", re.IGNORECASE)
_START = re.compile(r"(?:[ \t\n]++|-->)++")
_CLOSING = {"{": "}", "(": ")", "[": "]"}
_NO_ESCAPE = frozenset({"\\", "\\\n"})
_CLOSERS = frozenset(_CLOSING.values())
_QUOTES = frozenset({'"', "'"})


class Sheet(NamedTuple):
    """A style element's text; `always` tells that it is for every screen."""

    css: str
    always: bool = True


class Declaration(NamedTuple):
    """One declaration of a rule: `name` in lower case, unless it is a custom property.

    `end` is the piece of the sheet that ends it, -1 for the end of the sheet.
    """

    name: str
    value: str
    important: bool
    end: int = -1


class StyleRule(NamedTuple):
    """A style rule; it has at least one selector and one declaration.

    `always` tells that no condition is around it.
    """

    selectors: tuple[Selector, ...]
    declarations: tuple[Declaration, ...]
    always: bool = True


def _take_apart(css: str) -> list[str]:
    for line_end in ("\r\n", "\r", "\f"):
        css = css.replace(line_end, "\n")
    return _PIECE.findall(css.replace("\0", "\ufffd"))


def make_important(css: str, ends: Iterable[int]) -> str:
    """Return the sheet `css` with the declarations that end at these pieces marked important."""
    line_end = "\r\n" if "\r\n" in css else "\n"
    pieces = _take_apart(css)
    for end in ends:
        value = pieces[end - 1].rstrip(" \t\n")
        pieces[end - 1] = f"{value} !important{pieces[end - 1][len(value) :]}"
    return "".join(pieces).replace("\n", line_end)


def parse_sheet(css: str) -> tuple[StyleRule, ...]:
    """Return the style rules of the sheet `css`, in order."""
    pieces = _take_apart(css)
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
        self.conditions = 0  # blocks of `@media` and the like that are open

    def read_rules(self) -> list[StyleRule]:
        pieces, rules = self.pieces, []
        while self.at < len(pieces):
            piece = pieces[self.at]
            if piece == "<!--" or piece.startswith("/*"):
                self.at += 1
            elif piece == "@" and self._is_keyword():
                if self._enter_condition():
                    self.conditions += 1
                else:
                    self._skip_at_rule()
            elif piece == "}" and self.conditions:
                self.conditions -= 1
                self.at += 1
            elif _START.fullmatch(piece):
                self.at += 1
            elif (rule := self._read_rule()) is not None:
                rules.append(rule)
        return rules

    def _read_rule(self) -> StyleRule | None:
        """Return the rule here, if it is one that does something, and go behind it."""
        prelude = self._read_prelude()
        if self.at >= len(self.pieces) or self.pieces[self.at] == "}":
            return None
        selectors = parse_selectors(prelude)
        self.at += 1
        if not selectors:
            self._skip_block("}")
            return None
        declarations = self._read_declarations()
        if not declarations:
            return None
        return StyleRule(selectors, tuple(declarations), not self.conditions)

    def _enter_condition(self) -> bool:
        """Go into the block of an at-rule whose rules count sometimes; whether this is one."""
        pieces, start = self.pieces, self.at
        self.at += 1
        if _CONDITION.match(pieces[self.at]):
            while self.at < len(pieces) and (piece := pieces[self.at]) not in {";", "}"}:
                self.at += 1
                if piece == "{":
                    return True
                if piece in _CLOSING:
                    self._skip_block(_CLOSING[piece])
        self.at = start
        return False

    def _read_prelude(self) -> str:
        """Return what stands before the `{` of a rule, and go there; to the end without one.

        Within a condition that is the end of its block.
        """
        pieces, start = self.pieces, self.at
        while self.at < len(pieces) and (piece := pieces[self.at]) != "{":
            if piece == "}" and self.conditions:
                break
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
            end = self.at if self.at < len(pieces) else -1
            found.append(declaration._replace(end=end))


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
