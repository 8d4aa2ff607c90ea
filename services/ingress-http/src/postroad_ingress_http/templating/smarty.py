"""The syntax of the original service, `{$name}` and `{if $x}…{/if}`, rewritten into Jinja's.

Only what cannot be anything else is a tag: braces of style sheets and scripts stay text. A tag
becomes one tag of Jinja on the same line, so that lines of both texts agree. Pure.
"""

import re
from collections.abc import Iterator
from keyword import iskeyword

_TAG = re.compile(
    r"\{(?:(?P<output>\$)|(?P<word>elseif|if|foreach|assign)(?=[ \t\r\n(])"
    r"|(?P<bare>else|/if|foreachelse|/foreach|ldelim|rdelim|literal)\})"
)
_LITERAL_END = "{/literal}"
_BARE = {
    "else": "{% else %}",
    "/if": "{% endif %}",
    "foreachelse": "{% else %}",
    "/foreach": "{% endfor %}",
    "ldelim": '{{ "{" }}',
    "rdelim": '{{ "}" }}',
}
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')
    |(?P<number>\d+(?:\.\d+)?)
    |\$(?P<variable>[A-Za-z][\w-]*)
    |\.(?P<member>[A-Za-z_][\w-]*|\d+)
    |\|(?P<modifier>[A-Za-z_]\w*)
    |(?P<colon>:)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<operator>===?|!==?|<>|<=|>=|&&|\|\||[-+*/%<>!()\[\],])
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_OPERATORS = {
    "===": "==",
    "!==": "!=",
    "<>": "!=",
    "&&": " and ",
    "||": " or ",
    "!": " not ",
}
_WORDS = {
    "and": "and",
    "or": "or",
    "not": "not",
    "eq": "==",
    "ne": "!=",
    "neq": "!=",
    "gt": ">",
    "gte": ">=",
    "ge": ">=",
    "lt": "<",
    "lte": "<=",
    "le": "<=",
    "mod": "%",
    "true": "true",
    "false": "false",
    "null": "none",
}
_RESERVED = frozenset(
    {"and", "else", "if", "in", "is", "loop", "not", "or", "true", "false", "none", "self", "range"}
)
_IN = re.compile(r"^\s*\$([A-Za-z]\w*)\s+in\s+(.+)$", re.ASCII | re.DOTALL)
# Looked for from the end of a value, which is what stands before: linear whatever that holds.
_AS = re.compile(
    r"(?<=\S)\s++as\s++\$([A-Za-z]\w*+)(?:\s*+=>\s*+\$([A-Za-z]\w*+))?\s*+\Z", re.ASCII
)
_TO = re.compile(r"(?<=\S)\s++to\s++\$([A-Za-z]\w*+)\s*+\Z", re.ASCII)

ALL_DATA = "_data"
"""The variable that holds all data, for names that Jinja's syntax cannot say."""


class SmartySyntaxError(Exception):
    """Raised for a tag that makes no sense; `offset` is where it begins in the text."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def to_jinja(source: str) -> str:
    """Return `source` with every tag of the original's syntax as one of Jinja's.

    Raises:
        SmartySyntaxError: a tag cannot be read.
    """
    return "".join(_pieces(source)) if "{" in source else source


def _pieces(source: str) -> Iterator[str]:
    position = 0
    while found := _TAG.search(source, position):
        start = found.start()
        yield source[position:start]
        if found["bare"] == "literal":
            end = source.find(_LITERAL_END, found.end())
            if end < 0:
                raise SmartySyntaxError("`{literal}` is never closed", start)
            yield "{% raw %}" + source[found.end() : end] + "{% endraw %}"
            position = end + len(_LITERAL_END)
        elif found["bare"]:
            yield _BARE[found["bare"]]
            position = found.end()
        else:
            inner = found.end() - 1 if found["output"] else found.end()
            end = _end_of_tag(source, inner)
            if end < 0:
                raise SmartySyntaxError("a tag is never closed by `}`", start)
            yield _tag(found["word"], source[inner:end], start)
            position = end + 1
    yield source[position:]


def _end_of_tag(source: str, position: int) -> int:
    """Return where the `}` is that ends the tag, -1 where there is none; strings may hold one."""
    while position < len(source) and source[position] != "}":
        found = _TOKEN.match(source, position)
        position = found.end() if found else position + 1
    return position if position < len(source) else -1


def _tag(word: str | None, inner: str, offset: int) -> str:
    lines = "\n" * inner.count("\n")
    match word:
        case None:
            return f"{{{{ {_expression(inner, offset)}{lines} }}}}"
        case "if":
            return f"{{% if {_expression(inner, offset)}{lines} %}}"
        case "elseif":
            return f"{{% elif {_expression(inner, offset)}{lines} %}}"
        case "assign":
            parts = _TO.search(inner)
            if not parts:
                raise SmartySyntaxError("write `{assign value to $name}`", offset)
            value = _expression(inner[: parts.start()].strip(), offset)
            return f"{{% set {parts[1]} = {value}{lines} %}}"
        case _:
            return f"{{% for {_loop(inner, offset)}{lines} %}}"


def _loop(inner: str, offset: int) -> str:
    if parts := _IN.match(inner):
        return f"{parts[1]} in {_expression(parts[2], offset)}|values"
    if parts := _AS.search(inner):
        value = _expression(inner[: parts.start()].strip(), offset)
        if parts[2]:
            return f"{parts[1]}, {parts[2]} in {value}|pairs"
        return f"{parts[1]} in {value}|values"
    raise SmartySyntaxError("write `{foreach $item in $list}`", offset)


def _expression(text: str, offset: int) -> str:
    """Return an expression of the original's syntax as one of Jinja's, on one line."""
    parts: list[str] = []
    position, arguments = 0, 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise SmartySyntaxError(
                f"`{text[position : position + 20].strip()}` is unexpected", offset
            )
        position = found.end()
        kind, value = found.lastgroup, found[found.lastgroup or 0]
        if arguments and kind != "colon" and not _continues(parts[-1]):
            parts.append(")")
            arguments = 0
        match kind:
            case "modifier":
                parts.append(f"|{value}")
            case "colon":
                if not arguments and not "".join(parts[-1:]).startswith("|"):
                    raise SmartySyntaxError("`:` is unexpected", offset)
                parts.append("," if arguments else "(")
                arguments += 1
            case _:
                parts.append(_operand(kind, value, offset))
    if arguments:
        parts.append(")")
    return "".join(parts).strip()


def _continues(part: str) -> bool:
    """Tell whether an argument of a modifier must follow `part`."""
    return part in {"(", ","}


def _operand(kind: str | None, value: str, offset: int) -> str:
    match kind:
        case "space":
            return " "
        case "text":
            return value.replace("\n", "\\n")
        case "variable":
            return value if _is_plain(value) else f"{ALL_DATA}[{value!r}]"
        case "member":
            return f"[{value}]" if value.isdigit() else f"[{value!r}]"
        case "word":
            if value.lower() not in _WORDS:
                raise SmartySyntaxError(f"`{value}` is unexpected", offset)
            return f" {_WORDS[value.lower()]} "
        case "operator":
            return _OPERATORS.get(value, value)
        case _:
            return value


def _is_plain(name: str) -> bool:
    return "-" not in name and name not in _RESERVED and not iskeyword(name)
