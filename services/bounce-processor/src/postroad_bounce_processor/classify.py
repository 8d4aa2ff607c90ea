"""Tells the class of a failure from its reply code, enhanced status and words.

What is known about the world's mail servers is data (`rules/*.toml`, whose first lines explain
the format); this module reads it once and applies it: the first rule whose conditions all hold
wins, in the order of the file names. Whether a class means that the address is dead is data, too
(`rules/classes.toml`); whether the evidence is good enough to act on is decided in `understand`.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

MAX_WORDS = 2000
UNDETERMINED = "undetermined"
REMEMBERED = 500
"""How many verdicts are kept; with texts of `MAX_WORDS` that is 4 MiB at most, usually a tenth."""

_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"]{0,64}@[^\s<>()\[\],;:\"]{1,255}")
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"[a-z0-9]+")
_RULE_KEYS = frozenset({"class", "phrases", "patterns", "codes", "enhanced", "unless"})


class RuleError(ValueError):
    """The rule files are wrong; says which file and what."""


@dataclass(frozen=True, slots=True)
class FailureClass:
    """A class of failure, as `rules/classes.toml` describes it."""

    name: str
    hard: bool
    counts: bool
    explain: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The class of one failure, and what it rests on."""

    failure: FailureClass
    hard: bool
    """The class is a hard one, and the numbers do not contradict it: a permanent reply (5yz,
    5.x.x) that is not about security or policy (x.7.x)."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A normalised text and the set of its words."""

    text: str
    words: frozenset[str]


class _Words:
    """Phrases and patterns, any of which may be in a text.

    Of a phrase one whole word is known, its longest. Most rules are dismissed because the text has
    none of their words, without a look at the text; what remains is searched for as a substring
    before its pattern is tried. One large alternation would cost a hundred times as much.
    """

    def __init__(self, phrases: Iterable[str], patterns: Iterable[str]) -> None:
        by_word: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
        for phrase in phrases:
            plain, whole = phrase.removesuffix("*"), re.compile(_phrase(phrase))
            by_word.setdefault(_longest_word(phrase), []).append((plain, whole))
        self._wordless = by_word.pop("", [])
        self._by_word = by_word
        self._words = frozenset(by_word)
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)

    def __bool__(self) -> bool:
        return bool(self._words or self._wordless or self._patterns)

    def found_in(self, text: _Text) -> bool:
        if not self._words.isdisjoint(text.words):
            for word in self._words & text.words:
                if _any_phrase(self._by_word[word], text.text):
                    return True
        if self._wordless and _any_phrase(self._wordless, text.text):
            return True
        return any(pattern.search(text.text) for pattern in self._patterns)


def _any_phrase(phrases: Iterable[tuple[str, re.Pattern[str]]], text: str) -> bool:
    return any(plain in text and whole.search(text) for plain, whole in phrases)


def _longest_word(phrase: str) -> str:
    """Return the longest word of a phrase that every text with the phrase has; empty if none."""
    words = _WORD.findall(phrase)
    if phrase.endswith("*") and words and phrase.endswith(f"{words[-1]}*"):
        words.pop()
    return max(words, key=len, default="")


@dataclass(frozen=True, slots=True)
class _Rule:
    class_name: str
    words: _Words
    codes: frozenset[int]
    enhanced: re.Pattern[str] | None
    unless: _Words

    def fits(self, code: int | None, enhanced: str, text: _Text) -> bool:
        if self.codes and code not in self.codes:
            return False
        if self.enhanced is not None and not self.enhanced.fullmatch(enhanced):
            return False
        if self.words and not self.words.found_in(text):
            return False
        return not self.unless.found_in(text)


class Classifier:
    """Applies the rules; built once, immutable, cheap to share."""

    def __init__(
        self, classes: Mapping[str, FailureClass], rules: Iterable[tuple[str, Mapping[str, Any]]]
    ) -> None:
        self.classes = classes
        self._rules = tuple(_rule(origin, entry, classes) for origin, entry in rules)
        # In a storm one server says the same thing thousands of times.
        self._known = lru_cache(REMEMBERED)(self._judge)

    def classify(self, code: int | None, enhanced: str, text: str) -> Verdict:
        """Return the class of the failure; `undetermined` if no rule fits.

        ``text`` may be a diagnostic or a paragraph for people; its first 2,000 characters count.
        """
        if code is None and enhanced:  # a status alone stands for the plainest reply of its kind
            code = {"5": 550, "4": 450}.get(enhanced[0])
        return self._known(code, enhanced, normalise(text))

    def _judge(self, code: int | None, enhanced: str, normal: str) -> Verdict:
        text = _Text(normal, frozenset(_WORD.findall(normal)))
        for rule in self._rules:
            if rule.fits(code, enhanced, text):
                failure = self.classes[rule.class_name]
                return Verdict(failure, hard=failure.hard and _is_final(code, enhanced))
        return Verdict(self.classes[UNDETERMINED], hard=False)


def _is_final(code: int | None, enhanced: str) -> bool:
    if code is not None and code < 500:
        return False
    return not enhanced or (enhanced[0] == "5" and not enhanced.startswith("5.7."))


def normalise(text: str) -> str:
    """Lower case, single spaces, no addresses: the form that phrases are written in."""
    text = _SPACES.sub(" ", text[: MAX_WORDS * 2]).lower().replace("\u2019", "'")
    return _ADDRESS.sub("@", text)[:MAX_WORDS]


@cache
def built_in() -> Classifier:
    """Return the classifier with the rules that are part of the program.

    Raises:
        RuleError: a rule file is broken.
    """
    folder = files("postroad_bounce_processor") / "rules"
    classes = {
        name: FailureClass(
            name=name,
            hard=bool(entry.get("hard", False)),
            counts=bool(entry.get("counts", False)),
            explain=str(entry["explain"]),
        )
        for name, entry in tomllib.loads(
            (folder / "classes.toml").read_text(encoding="utf-8")
        ).items()
    }
    rules: list[tuple[str, Mapping[str, Any]]] = []
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name[:1].isdigit():
            entries = tomllib.loads(file.read_text(encoding="utf-8"))["rule"]
            rules += [(f"{file.name} rule {n}", entry) for n, entry in enumerate(entries, start=1)]
    return Classifier(classes, rules)


def _rule(origin: str, entry: Mapping[str, Any], classes: Mapping[str, FailureClass]) -> _Rule:
    unknown = entry.keys() - _RULE_KEYS
    if unknown:
        raise RuleError(f"{origin}: unknown keys {sorted(unknown)}")
    if entry.get("class") not in classes:
        raise RuleError(f"{origin}: unknown class {entry.get('class')!r}")
    try:
        words = _Words(entry.get("phrases", ()), entry.get("patterns", ()))
        unless = _Words(entry.get("unless", ()), ())
    except re.error as error:
        raise RuleError(f"{origin}: {error}") from error
    codes = frozenset(int(code) for code in entry.get("codes", ()))
    statuses = [
        re.escape(status).replace(r"\*", r"\d{1,3}") for status in entry.get("enhanced", ())
    ]
    enhanced = re.compile("|".join(statuses)) if statuses else None
    if not words and not codes and enhanced is None:
        raise RuleError(f"{origin}: a rule without conditions fits everything")
    return _Rule(str(entry["class"]), words, codes, enhanced, unless)


def _phrase(phrase: str) -> str:
    if phrase != phrase.lower() or "  " in phrase:
        raise RuleError(f"phrase {phrase!r} must be in lower case with single spaces")
    open_end = phrase.endswith("*")
    body = re.escape(phrase.removesuffix("*"))
    before = r"(?<![a-z0-9])" if phrase[0].isalnum() else ""
    after = "" if open_end or not phrase[-1].isalnum() else r"(?![a-z0-9])"
    return f"{before}{body}{after}"
