"""Every regular expression of the project takes linear time over 64 kB made of its own atoms.

They are collected by importing every module, and by loading the rules that are data, in a process
of its own. Texts are made from each expression's own parts: what it matches again and again, what
its repetitions repeat, with and without what stands before them, and nothing that would end them.
"""

import json
import re
import re._parser as sre
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SIZE = 64 * 1024
_FIRST = SIZE // 64
_STEEP = 9.0  # times the time for four times the text: linear work takes 4, quadratic 16
_LEAST = 0.01  # seconds of processor time below which nothing is told apart
_MOST_TEXTS = 12
_END = "\x01"

# Expressions that are only ever asked about short texts, with the most characters of those.
BOUNDED: dict[str, int] = {
    "phrases.py": 4096,  # the bounce rules: `MAX_WORDS` of a statement
    "rule.py": 4096,
    "formats._SUBJECT": 300,
    "formats._DAEMON": 300,
    "autoreply._CHALLENGE_SUBJECT": 300,
    "signals.text": 1000,  # `_TEXT_LIMIT` of a reply
    "signals._SPAN": 1000,
    "sevenbit_header._PARAMETER": 16_384,  # `MOST_FIELD`
}

_PLAIN = re.compile(r"(?:\(\?<!\[a-z0-9\]\))?[\w \\.,:'-]*(?:\(\?!\[a-z0-9\]\))?")

COLLECT = """
import importlib, json, pkgutil, re, sys

found = {}
real = re.compile

def collect(pattern, flags=0):
    compiled = real(pattern, flags)
    frame = sys._getframe(1)
    file = frame.f_code.co_filename
    if "postroad_" in file:
        text = compiled.pattern
        octets = isinstance(text, bytes)
        key = (octets, text.decode("latin-1") if octets else text, compiled.flags)
        found.setdefault(key, (file, frame.f_lineno))
    return compiled

re.compile = collect
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for info in pkgutil.walk_packages(package.__path__, name + "."):
        if not info.name.endswith("__main__"):
            importlib.import_module(info.name)
from postroad_common.classification.classifier import built_in
from postroad_bounce_processor.understanding.formats import built_in_formats
built_in()
built_in_formats()
json.dump([[*key, *place] for key, place in found.items()], sys.stdout)
"""


@dataclass(frozen=True)
class Expression:
    """A regular expression, and where it is compiled."""

    pattern: re.Pattern[Any]
    file: Path
    line: int

    @cached_property
    def name(self) -> str:
        """Its module and the name it is given there."""
        code = self.file.read_text(encoding="utf-8").splitlines()[self.line - 1]
        found = re.match(r"\s*([A-Za-z_]\w*)\b[^=]*=", code)
        return f"{self.file.stem}.{found[1] if found else self.line}"

    @cached_property
    def only_at_the_start(self) -> frozenset[str]:
        """Which of `match` and `fullmatch` it is asked, if it is asked nothing else."""
        name = self.name.partition(".")[2]
        source = self.file.read_text(encoding="utf-8")
        verbs = frozenset(re.findall(rf"\b{name}\.(\w+)", source))
        return verbs if verbs <= {"match", "fullmatch"} else frozenset()


def _packages() -> list[str]:
    return sorted(path.name for path in ROOT.glob("*/*/src/postroad_*") if path.is_dir())


def _collected() -> list[Expression]:
    packages = [name for name in _packages() if name != "postroad_testing"]
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, *packages], capture_output=True, check=True, cwd=ROOT
    )
    return [
        Expression(re.compile(text.encode("latin-1") if octets else text, flags), Path(file), line)
        for octets, text, flags, file, line in json.loads(done.stdout)
        if ROOT in Path(file).parents
    ]


def _texts(expression: Expression) -> list[tuple[str, str]]:
    """Return short texts to be repeated, as pairs of what comes once before and what repeats."""
    tree = sre.parse(expression.pattern.pattern, expression.pattern.flags)
    found: dict[tuple[str, str], None] = {}
    whole = _sample(tree)
    found["", whole] = None
    for before, part in _repeated(tree, ""):
        for once, again in ((before, part), ("", part), ("", before), ("", before + part)):
            found[once, again] = None
    for atom in dict.fromkeys(whole):
        found["", atom] = None
    return [pair for pair in found if pair[1]][:_MOST_TEXTS]


def _sample(tree: Any) -> str:
    return "".join(_sample_of(kind, value) for kind, value in tree)


def _sample_of(kind: Any, value: Any) -> str:
    match str(kind):
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return "x" if value != ord("x") else "y"
        case "ANY":
            return "x"
        case "IN":
            return _member(value)
        case "BRANCH":
            return _sample(value[1][0])
        case "SUBPATTERN":
            return _sample(value[3])
        case "ATOMIC_GROUP":
            return _sample(value)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return _sample(value[2]) * max(1, min(value[0], 100))
        case _:
            return ""


def _member(members: Any) -> str:
    kinds = {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a"}
    if str(members[0][0]) == "NEGATE":
        excluded = {chr(value) for kind, value in members if str(kind) == "LITERAL"}
        for kind, value in members:
            if str(kind) == "RANGE":
                excluded |= {chr(code) for code in range(value[0], min(value[1], 0x300) + 1)}
            elif str(kind) == "CATEGORY":
                excluded |= {kinds.get(str(value), "")}
        return next((c for c in "xa 1-\n<\u00e9\x01" if c not in excluded), "\u2603")
    kind, value = members[0]
    if str(kind) == "LITERAL":
        return chr(value)
    if str(kind) == "RANGE":
        return chr(value[0])
    return kinds.get(str(value), "x")


def _repeated(tree: Any, before: str) -> Iterator[tuple[str, str]]:
    """Yield for each repetition what comes before it, and what it repeats."""
    for kind, value in tree:
        match str(kind):
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                yield before, _sample(value[2])
                yield from _repeated(value[2], before)
            case "SUBPATTERN":
                yield from _repeated(value[3], before)
            case "ATOMIC_GROUP":
                yield from _repeated(value, before)
            case "BRANCH":
                for branch in value[1]:
                    yield before, _sample(branch)
                    yield from _repeated(branch, before)
            case _:
                pass
        before += _sample_of(kind, value)


def _seconds(expression: Expression, once: str, again: str, size: int) -> float:
    text: Any = (once + again * (size // len(again) + 1))[: size - 1] + _END
    pattern = expression.pattern
    if isinstance(pattern.pattern, bytes):
        text = text.encode("latin-1", "replace")
    begun = time.process_time()
    if expression.only_at_the_start:
        for verb in expression.only_at_the_start:
            getattr(pattern, verb)(text)
    else:
        deque(pattern.finditer(text), maxlen=0)
    return time.process_time() - begun


def _steep(expression: Expression) -> str:
    """Return what text it takes more than linear time for; empty if none."""
    most = BOUNDED.get(expression.name, BOUNDED.get(expression.file.name, SIZE))
    for once, again in _texts(expression):
        size = min(_FIRST, most // 4)
        before = _seconds(expression, once, again, size)
        while size * 4 <= most:
            size *= 4
            taken = _seconds(expression, once, again, size)
            if _is_steep(before, taken):  # once more, should something else have taken the time
                before = _seconds(expression, once, again, size // 4)
                taken = _seconds(expression, once, again, size)
                if _is_steep(before, taken):
                    times = taken / max(before, _LEAST / 8)
                    return f"{once[:60]!r} + {again[:60]!r}…: {times:.0f} times as long at {size}"
            before = taken
    return ""


def _is_steep(before: float, taken: float) -> bool:
    return taken > _LEAST and taken > _STEEP * max(before, _LEAST / 8)


def _is_plain(expression: Expression) -> bool:
    """Tell whether it is nothing but words, as most of the bounce rules are."""
    return _PLAIN.fullmatch(str(expression.pattern.pattern)) is not None


@pytest.mark.speed
def test_every_expression_takes_linear_time():
    expressions = _collected()
    assert len(expressions) > 1000
    slow = [
        f"{expression.name} ({expression.file.name}:{expression.line}): {found}"
        for expression in expressions
        if not _is_plain(expression) and (found := _steep(expression))
    ]
    assert not slow, "\n".join(slow)


def test_the_names_of_bounded_expressions_exist():
    found = _collected()
    names = {each.name for each in found} | {each.file.name for each in found}
    assert set(BOUNDED) <= names


def test_quadratic_expressions_would_be_found():
    for text in (r"a+b", r"<a[^>]*\s>", r"\s+$", r"(?:x,)+y"):
        expression = Expression(re.compile(text), Path(__file__), 1)
        assert _steep(expression), text
