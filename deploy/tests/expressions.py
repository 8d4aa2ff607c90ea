"""The expressions of the dashboards and of the rules, and the series that they name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

MONITORING = Path(__file__).parent.parent / "monitoring"
RULES = MONITORING / "rules"
_STRING = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r"(?<![\w:.])([a-zA-Z_][\w:]*)(\{[^}]*\})?(?!\s*\()(?![\w:])")
_LABELS = re.compile(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)")
_WORDS = frozenset({"and", "or", "unless", "by", "on", "bool", "offset", "ignoring", "without"})
_FUNCTION = re.compile(r"\b[a-z_]+\s*\(")


class Expression(NamedTuple):
    """Where an expression stands, and the expression."""

    where: str
    text: str


def panels() -> Iterator[Expression]:
    """Return the expression of every query of every panel of every dashboard."""
    for path in sorted((MONITORING / "grafana").glob("*.json")):
        for panel in _all_panels(json.loads(path.read_text())["panels"]):
            for target in panel.get("targets", ()):
                yield Expression(f"{path.stem}: {panel['title']}", target["expr"])


def _all_panels(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in found:
        yield panel
        yield from _all_panels(panel.get("panels", []))


def rules(file: str) -> list[dict[str, Any]]:
    """Return the rules of `recording` or `alerts`."""
    document = yaml.safe_load((RULES / f"{file}.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def selectors(text: str) -> list[str]:
    """Return the series that an expression names, with their labels: `up{job="postroad"}`."""
    bare = _LABELS.sub(" ", text)
    found = []
    for match in _SELECTOR.finditer(bare):
        name, labels = match.group(1), match.group(2) or ""
        inside = bare.rfind("{", 0, match.start()) > bare.rfind("}", 0, match.start())
        window = bare.rfind("[", 0, match.start()) > bare.rfind("]", 0, match.start())
        if not (inside or window or name in _WORDS):
            found.append(name + labels)
    return found


def metric_of(selector: str) -> str:
    """Return the name of a selector."""
    return selector.partition("{")[0]
