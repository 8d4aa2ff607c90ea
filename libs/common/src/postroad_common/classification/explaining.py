"""What a failure means in plain words, and what can be done: the one source of these sentences.

They are data (`rules/classes.toml`). DSNs, the dashboard and REST all take them from here.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from postroad_common.mail.classification import Classification

TRIED_AGAIN = "It is tried again by itself; there is nothing to do."
_PACKAGE = "postroad_common.classification"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a mail was refused or put off: the class, its `meaning`, and what can be done."""

    classification: Classification
    meaning: str
    advice: str


def explain(
    classification: Classification, enhanced: str = "", *, waits: bool = False
) -> Explanation:
    """Return the sentences for a class, or those for its enhanced status code where there are some.

    `waits`: the mail is put off, and is tried again by itself.
    """
    sentences = _sentences()[classification]
    exact = sentences.get(enhanced.partition(".")[2])
    told = sentences | (exact if isinstance(exact, dict) else {})
    advice = told.get("waiting", TRIED_AGAIN) if waits else told["advice"]
    return Explanation(classification, str(told["explain"]), str(advice))


@cache
def _sentences() -> Mapping[Classification, dict[str, Any]]:
    text = (files(_PACKAGE) / "rules" / "classes.toml").read_text(encoding="utf-8")
    return {Classification(name): entry for name, entry in tomllib.loads(text).items()}
