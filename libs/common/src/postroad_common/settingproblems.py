"""What is said about a setting that is wrong: its name, what is wrong, and how it looks."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not known",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_parsing": "must be true or false",
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "string_pattern_mismatch": "does not have the right form",
}


def in_words(item: Mapping[str, Any]) -> str:
    """Return what pydantic's report of one error says, in words for people who set values."""
    words = _WORDS.get(str(item["type"]))
    if words is None:
        return str(item["msg"]).removeprefix("Value error, ")
    context = item.get("ctx", {})
    return words.format(**{key: _number(value) for key, value in context.items()})


def _number(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)


def example_of(field: FieldInfo) -> str | None:
    """Return a value that the setting can have: its first example, or its default."""
    if field.examples:
        return str(field.examples[0])
    default = field.get_default()
    if field.is_required() or default in (None, "", ()) or isinstance(default, BaseModel):
        return None
    if isinstance(default, bool):
        return "false" if default else "true"  # the other one: why else would it be set
    return f"{default:.10g}" if isinstance(default, float) else str(default)


def with_example(name: str, text: str, field: FieldInfo | None) -> str:
    """Return the line about the setting `name`, with an example where `text` has none."""
    example = example_of(field) if field is not None else None
    shown = "" if example is None or "as in" in text else f", as in {name}={example}"
    return f"{name}: {text}{shown}"


def unknown(name: str, known: list[str]) -> str:
    """Return the line about a name that no setting has."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"{name}: no such setting" + (f"; did you mean {close[0]}?" if close else "")
