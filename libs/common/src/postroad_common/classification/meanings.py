"""Words of one meaning in many languages, and where they stand in a text.

Nobody can list the sentences of all servers; but nearly all of them join a subject to something
that is said of it: a mailbox that is unknown, a host that is listed. Rules for sentences that no
phrase knows name such pairs of meanings (`rules/40-meanings.toml`), and `rules/vocabulary.toml`
has their words.
"""

import re
import tomllib
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

NEAR = 60
"""Characters between the beginnings of two words that belong together."""

_WORD = re.compile(r"\w+")
_UNSPACED = "\u0e00"
"""The first character of the scripts that put no spaces between words."""
_LETTERS = str.maketrans(
    {"\u0131": "i", "ł": "l", "ø": "o", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe"}
)
"""Letters that have no decomposition, but are written without their marks, too."""
_PACKAGE = "postroad_common.classification"


class Vocabulary:
    """The words of each meaning; built once, immutable.

    A word is compared whole, with an asterisk by its beginning; several words, and those of scripts
    without spaces, as they stand. Accents do not count.
    """

    def __init__(self, meanings: Mapping[str, Iterable[str]]) -> None:
        self.names = frozenset(meanings)
        self._words: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        self._phrases: dict[str, list[tuple[str, bool, str]]] = {}
        self._unspaced: list[tuple[str, str]] = []
        for meaning, words in meanings.items():
            for word in words:
                self._add(meaning, fold(word.lower()))
        self._lengths = sorted({len(stem) for stem in self._stems})

    def places(self, text: str) -> dict[str, list[int]]:
        """Return where the words of each meaning begin in ``text``, in ascending order."""
        text = fold(text)
        found: dict[str, list[int]] = {}
        for match in _WORD.finditer(text):
            word, start = match[0], match.start()
            for meaning in self._meanings_of(word):
                found.setdefault(meaning, []).append(start)
            for phrase, is_open, meaning in self._phrases.get(word, ()):
                end = start + len(phrase)
                if text.startswith(phrase, start) and (is_open or _ends_word(text, end)):
                    found.setdefault(meaning, []).append(start)
        if not text.isascii() and any(character >= _UNSPACED for character in text):
            for phrase, meaning in self._unspaced:
                start = text.find(phrase)
                while start >= 0:
                    found.setdefault(meaning, []).append(start)
                    start = text.find(phrase, start + len(phrase))
            for starts in found.values():
                starts.sort()
        return found

    def _meanings_of(self, word: str) -> Iterable[str]:
        yield from self._words.get(word, ())
        for length in self._lengths:
            if length > len(word):
                return
            yield from self._stems.get(word[:length], ())

    def _add(self, meaning: str, word: str) -> None:
        plain, is_open = word.removesuffix("*"), word.endswith("*")
        first = _WORD.match(word)
        if first is None:
            raise ValueError(f"{word!r} does not begin with a word")
        if word[0] >= _UNSPACED:
            self._unspaced.append((plain, meaning))
        elif first[0] != plain:
            self._phrases.setdefault(first[0], []).append((plain, is_open, meaning))
        elif is_open:
            self._stems.setdefault(plain, []).append(meaning)
        else:
            self._words.setdefault(plain, []).append(meaning)


def fold(text: str) -> str:
    """Return ``text`` without accents and other marks; ASCII is returned as it is."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def are_near(places: Mapping[str, Sequence[int]], meanings: Sequence[str]) -> bool:
    """Tell whether a word of the first meaning has one of each other meaning near it."""
    first, *others = (places.get(meaning, ()) for meaning in meanings)
    return any(all(_has_near(starts, place) for starts in others) for place in first)


@cache
def vocabulary() -> Vocabulary:
    """Return the vocabulary that is part of the program."""
    text = (files(_PACKAGE) / "rules" / "vocabulary.toml").read_text(encoding="utf-8")
    return Vocabulary({name: entry["words"] for name, entry in tomllib.loads(text).items()})


def _has_near(starts: Sequence[int], place: int) -> bool:
    index = bisect_left(starts, place - NEAR)
    return index < len(starts) and starts[index] <= place + NEAR


def _ends_word(text: str, end: int) -> bool:
    return end == len(text) or not text[end].isalnum()
