"""Phrases and patterns of rules, found in a text: thousands of them in microseconds."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from postroad_common.classification.meanings import vocabulary

MAX_WORDS = 2000
"""How many characters of a text are compared."""

_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"]{0,64}@[^\s<>()\[\],;:\"]{1,255}")
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"[a-z0-9]+")
_REPLY = re.compile(r"(?<![\w.])[45][0-9][0-9][ ,:-](?=.{8})")


class PhraseError(ValueError):
    """A phrase is not in the form that texts are compared in."""


@dataclass(frozen=True)
class NormalisedText:
    """A normalised text and the set of its words."""

    text: str
    words: frozenset[str]

    @cached_property
    def places(self) -> Mapping[str, Sequence[int]]:
        """Where the words of each meaning begin; looked up when the first rule asks.

        Of a reply that is quoted only the reply counts, and not who says that it was given.
        """
        reply = _REPLY.search(self.text)
        return vocabulary().places(self.text[reply.start() :] if reply else self.text)


class Phrases:
    """Phrases and patterns, any of which may be in a text.

    Of a phrase one whole word is known, its longest. Most rules are dismissed because the text has
    none of their words, without a look at the text; what remains is searched for as a substring
    before its pattern is tried. One large alternation would cost a hundred times as much.
    """

    def __init__(
        self, phrases: Iterable[str], patterns: Iterable[str], hints: Iterable[str] = ()
    ) -> None:
        """Raise `PhraseError` or `re.error` if one of them is not well formed.

        Patterns are tried on texts that hold one of the hints; on all if there are none.
        """
        by_word: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
        for phrase in phrases:
            plain, whole = phrase.removesuffix("*"), re.compile(phrase_pattern(phrase))
            by_word.setdefault(_longest_word(phrase), []).append((plain, whole))
        self._wordless = by_word.pop("", [])
        self._by_word = by_word
        self._words = frozenset(by_word)
        self._hints = tuple(hints)
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)

    @property
    def triggers(self) -> tuple[frozenset[str], frozenset[str]] | None:
        """The words and the substrings of which a text must have one; None: try every text."""
        if self._patterns and not self._hints:
            return None
        return self._words, frozenset({*self._hints, *(plain for plain, _ in self._wordless)})

    def __bool__(self) -> bool:
        return bool(self._words or self._wordless or self._patterns)

    def found_in(self, text: NormalisedText) -> bool:
        """Tell whether any of them is in ``text``."""
        if not self._words.isdisjoint(text.words):
            for word in self._words & text.words:
                if _any_phrase(self._by_word[word], text.text):
                    return True
        if self._wordless and _any_phrase(self._wordless, text.text):
            return True
        if not self._patterns or (self._hints and not any(h in text.text for h in self._hints)):
            return False
        return any(pattern.search(text.text) for pattern in self._patterns)


def split(normal: str) -> NormalisedText:
    """Return a normalised text with its words."""
    return NormalisedText(normal, frozenset(_WORD.findall(normal)))


def normalise(text: str) -> str:
    """Return the form that phrases are written in: lower case, single spaces, no addresses."""
    text = _SPACES.sub(" ", text[: MAX_WORDS * 2]).lower().replace("\u2019", "'")
    return _ADDRESS.sub("@", text)[:MAX_WORDS]


def phrase_pattern(phrase: str) -> str:
    """Return the regular expression of a phrase: whole words, open after a closing asterisk."""
    if phrase != phrase.lower() or "  " in phrase:
        raise PhraseError(f"phrase {phrase!r} must be in lower case with single spaces")
    open_end = phrase.endswith("*")
    body = re.escape(phrase.removesuffix("*"))
    before = r"(?<![a-z0-9])" if phrase[0].isalnum() else ""
    after = "" if open_end or not phrase[-1].isalnum() else r"(?![a-z0-9])"
    return f"{before}{body}{after}"


def _any_phrase(phrases: Iterable[tuple[str, re.Pattern[str]]], text: str) -> bool:
    return any(plain in text and whole.search(text) for plain, whole in phrases)


def _longest_word(phrase: str) -> str:
    """Return the longest word of a phrase that every text with the phrase has; empty if none."""
    words = _WORD.findall(phrase)
    if phrase.endswith("*") and words and phrase.endswith(f"{words[-1]}*"):
        words.pop()
    return max(words, key=len, default="")
