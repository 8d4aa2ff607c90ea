"""Tells the class of a failure from its reply code, enhanced status and words.

What is known about the world's mail servers is data (`rules/*.toml`, whose first lines explain
the format); this module reads it once and applies it: the first rule whose conditions all hold
wins, in the order of the file names. Which classes mean that the address is dead, the
classification says; whether the evidence is good enough to act on is decided in `understand`.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from postroad_common.classification.phrases import NormalisedText, normalise, split
from postroad_common.classification.rule import STRONG, ClassificationRule, read_rule
from postroad_common.mail.classification import Classification

REMEMBERED = 500
"""How many verdicts are kept; with texts of `MAX_WORDS` that is 4 MiB at most, usually a tenth."""

_REPLY = re.compile(r"(?<![\d.])55\d\b")
_REPLY_WITH_ADDRESS = re.compile(r"(?<![\d.])55\d\b[^@]{0,60}@")
_SURE_AT_ANY_TIME = re.compile(r"user doesn't have an? \S{1,100} account")
_RULES = "postroad_common.classification"


@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """The class of one failure, and what it rests on."""

    classification: Classification
    hard: bool
    """The class is a hard one, and the numbers do not contradict it: a permanent reply (5yz,
    5.x.x) that is not about security or policy (x.7.x), given to RCPT."""
    weight: int = 0
    """How much the words say (`rule`: STRONG, GENERAL or NUMBERS); 0 if no rule fits."""


class Classifier:
    """Applies the rules; built once, immutable, cheap to share."""

    def __init__(self, rules: Iterable[ClassificationRule]) -> None:
        self._rules = tuple(rules)
        self._always: list[int] = []
        self._by_word: dict[str, list[int]] = {}
        self._by_piece: dict[str, list[int]] = {}
        for number, rule in enumerate(self._rules):
            self._index(number, rule)
        # In a storm one server says the same thing thousands of times.
        self._known = lru_cache(REMEMBERED)(self._judge)

    def classify(self, code: int | None, enhanced: str, text: str, stage: str = "") -> ClassVerdict:
        """Return the class of the failure; `undetermined` if no rule fits.

        Args:
            code: the SMTP code, where there is one.
            enhanced: the enhanced status code, or empty.
            text: a diagnostic or a paragraph for people; its first 2,000 characters count.
            stage: the command that was answered (`rule.STAGES`), where it is known.
        """
        if code is None and enhanced:  # a status alone stands for the plainest reply of its kind
            code = {"5": 550, "4": 450}.get(enhanced[0])
        return self._known(code, enhanced, stage, normalise(text))

    def _index(self, number: int, rule: ClassificationRule) -> None:
        triggers = rule.words.triggers if rule.words else None
        if triggers is None:
            self._always.append(number)
            return
        words, pieces = triggers
        for word in words:
            self._by_word.setdefault(word, []).append(number)
        for piece in pieces:
            self._by_piece.setdefault(piece, []).append(number)

    def _candidates(self, text: NormalisedText) -> Iterator[ClassificationRule]:
        """Yield in order the rules whose words may be in the text: a few of very many."""
        numbers = set(self._always)
        for word in self._by_word.keys() & text.words:
            numbers.update(self._by_word[word])
        for piece, found in self._by_piece.items():
            if piece in text.text:
                numbers.update(found)
        return (self._rules[number] for number in sorted(numbers))

    def _judge(self, code: int | None, enhanced: str, stage: str, normal: str) -> ClassVerdict:
        text = split(normal)
        for rule in self._candidates(text):
            if rule.fits(code, enhanced, stage, text):
                hard = rule.hard and _is_final(code, enhanced)
                if hard and rule.classification is Classification.NO_SUCH_USER:
                    hard = not _is_contested(enhanced, stage, normal)
                return ClassVerdict(rule.classification, hard, rule.weight)
        return ClassVerdict(Classification.UNDETERMINED, hard=False)


def _is_final(code: int | None, enhanced: str) -> bool:
    if code is not None and code < 500:
        return False
    return not enhanced or (enhanced[0] == "5" and not enhanced.startswith("5.7."))


def _is_contested(enhanced: str, stage: str, text: str) -> bool:
    """Tell whether "no such user" may not be meant.

    As the answer to the data it is that of a filter: RCPT was accepted. So it may be where a reply
    is quoted without the command it answered, unless its status says that the address is wrong
    (5.1.x; Exchange Online's 5.4.1) or it names the address, as answers to RCPT do. A directory
    that was asked without SMTP is believed, and so is Yahoo, which looks after the data.
    """
    if _SURE_AT_ANY_TIME.search(text):
        return False
    if stage:
        return stage == "data"
    if enhanced.startswith(("5.1.", "5.4.")) or not _REPLY.search(text):
        return False
    return enhanced not in {"", "5.0.0"} or _REPLY_WITH_ADDRESS.search(text) is None


@cache
def built_in() -> Classifier:
    """Return the classifier with the rules that are part of the program.

    Raises:
        RuleError: a rule file is broken.
    """
    rules: list[ClassificationRule] = []
    for file in sorted((files(_RULES) / "rules").iterdir(), key=lambda entry: entry.name):
        if file.name[:1].isdigit():
            document = tomllib.loads(file.read_text(encoding="utf-8"))
            weight = int(document.get("weight", STRONG))
            rules += [
                read_rule(f"{file.name} rule {number}", entry, weight)
                for number, entry in enumerate(document["rule"], start=1)
            ]
    return Classifier(rules)
