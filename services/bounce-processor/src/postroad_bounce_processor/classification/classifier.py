"""Tells the class of a failure from its reply code, enhanced status and words.

What is known about the world's mail servers is data (`rules/*.toml`, whose first lines explain
the format); this module reads it once and applies it: the first rule whose conditions all hold
wins, in the order of the file names. Which classes mean that the address is dead, the
classification says; whether the evidence is good enough to act on is decided in `understand`.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from postroad_bounce_processor.classification.phrases import normalise, split
from postroad_bounce_processor.classification.rule import read_rule
from postroad_common.mail.classification import Classification

REMEMBERED = 500
"""How many verdicts are kept; with texts of `MAX_WORDS` that is 4 MiB at most, usually a tenth."""

_RULES = "postroad_bounce_processor.classification"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The class of one failure, and what it rests on."""

    classification: Classification
    hard: bool
    """The class is a hard one, and the numbers do not contradict it: a permanent reply (5yz,
    5.x.x) that is not about security or policy (x.7.x)."""


class Classifier:
    """Applies the rules; built once, immutable, cheap to share."""

    def __init__(self, rules: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Raise `RuleError` if a rule, given with where it stands, is not well formed."""
        self._rules = tuple(read_rule(origin, entry) for origin, entry in rules)
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
        text = split(normal)
        for rule in self._rules:
            if rule.fits(code, enhanced, text):
                return Verdict(rule.classification, rule.hard and _is_final(code, enhanced))
        return Verdict(Classification.UNDETERMINED, hard=False)


def _is_final(code: int | None, enhanced: str) -> bool:
    if code is not None and code < 500:
        return False
    return not enhanced or (enhanced[0] == "5" and not enhanced.startswith("5.7."))


@cache
def built_in() -> Classifier:
    """Return the classifier with the rules that are part of the program.

    Raises:
        RuleError: a rule file is broken.
    """
    rules: list[tuple[str, Mapping[str, Any]]] = []
    for file in sorted((files(_RULES) / "rules").iterdir(), key=lambda entry: entry.name):
        if file.name[:1].isdigit():
            entries = tomllib.loads(file.read_text(encoding="utf-8"))["rule"]
            rules += [(f"{file.name} rule {n}", entry) for n, entry in enumerate(entries, start=1)]
    return Classifier(rules)


@cache
def explanations() -> Mapping[Classification, str]:
    """Return the sentence for the sender of the mail, by class (`rules/classes.toml`)."""
    text = (files(_RULES) / "rules" / "classes.toml").read_text(encoding="utf-8")
    return {
        Classification(name): str(entry["explain"]) for name, entry in tomllib.loads(text).items()
    }
