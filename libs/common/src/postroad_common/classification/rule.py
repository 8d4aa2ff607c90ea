"""One rule of `rules/*.toml`: its conditions, and how it is read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postroad_common.classification.meanings import are_near, vocabulary
from postroad_common.classification.phrases import NormalisedText, PhraseError, Phrases
from postroad_common.mail.classification import Classification

_KEYS = frozenset(
    {
        "class",
        "hard",
        "general",
        "phrases",
        "patterns",
        "hints",
        "codes",
        "enhanced",
        "stages",
        "unless",
        "near",
        "without",
    }
)
STAGES = frozenset({"connect", "ehlo", "mail", "rcpt", "data"})
"""The commands that a reply may answer; `data` stands for the end of the data, too."""
STAGES_OF_ATTEMPTS = {
    "connect": "connect",
    "banner": "connect",
    "ehlo": "ehlo",
    "mail": "mail",
    "rcpt": "rcpt",
    "data": "data",
    "dot": "data",
}
"""The stages of an attempt to deliver in the words of rules; the others answer no command."""

STRONG, GENERAL, NUMBERS = 3, 2, 1
"""What a rule weighs: its words mean one thing, or many, or there are only numbers."""


class RuleError(ValueError):
    """The rule files are wrong; says which file and what."""


@dataclass(frozen=True, slots=True)
class ClassificationRule:
    """The class that a failure has if all conditions hold."""

    classification: Classification
    hard: bool
    """A permanent failure that fits means that the address is dead."""
    weight: int
    words: Phrases
    codes: frozenset[int]
    enhanced: re.Pattern[str] | None
    stages: frozenset[str]
    unless: Phrases
    near: tuple[str, ...] = ()
    """Meanings (`meanings`) of which the text must have words near each other."""
    without: frozenset[str] = frozenset()
    """Meanings of which it must have no word."""

    def fits(self, code: int | None, enhanced: str, stage: str, text: NormalisedText) -> bool:
        """Tell whether all conditions hold."""
        if self.stages and stage not in self.stages:
            return False
        if self.codes and code not in self.codes:
            return False
        if self.enhanced is not None and not self.enhanced.fullmatch(enhanced):
            return False
        if self.words and not self.words.found_in(text):
            return False
        if self.near and not self._means(text):
            return False
        return not self.unless.found_in(text)

    def _means(self, text: NormalisedText) -> bool:
        places = text.places
        if any(meaning not in places for meaning in self.near):
            return False
        return self.without.isdisjoint(places) and are_near(places, self.near)


def read_rule(origin: str, entry: Mapping[str, Any], weight: int = STRONG) -> ClassificationRule:
    """Return the rule of one TOML table; `weight` is that of its file.

    Raises:
        RuleError: it is not well formed; `origin` says where it stands.
    """
    unknown = entry.keys() - _KEYS
    if unknown:
        raise RuleError(f"{origin}: unknown keys {sorted(unknown)}")
    try:
        classification = Classification(str(entry.get("class")))
        words = Phrases(entry.get("phrases", ()), entry.get("patterns", ()), entry.get("hints", ()))
        unless = Phrases(entry.get("unless", ()), ())
    except (ValueError, PhraseError, re.error) as error:
        raise RuleError(f"{origin}: {error}") from error
    codes = frozenset(int(code) for code in entry.get("codes", ()))
    statuses = [
        re.escape(status).replace(r"\*", r"\d{1,3}") for status in entry.get("enhanced", ())
    ]
    enhanced = re.compile("|".join(statuses)) if statuses else None
    stages = frozenset(str(stage) for stage in entry.get("stages", ()))
    if not stages <= STAGES:
        raise RuleError(f"{origin}: unknown stages {sorted(stages - STAGES)}")
    near, without = tuple(entry.get("near", ())), frozenset(entry.get("without", ()))
    unheard = {*near, *without} - vocabulary().names
    if unheard:
        raise RuleError(f"{origin}: the vocabulary has no {sorted(unheard)}")
    if not words and not near and not codes and not stages and enhanced is None:
        raise RuleError(f"{origin}: a rule without conditions fits everything")
    hard = classification.hard and bool(entry.get("hard", True))
    if entry.get("general", False):
        weight = min(weight, GENERAL)
    return ClassificationRule(
        classification, hard, weight, words, codes, enhanced, stages, unless, near, without
    )
