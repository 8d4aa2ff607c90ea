"""Settings that are JSON lists of entries, read with messages that name entry and field."""

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.settingproblems import in_words

M = TypeVar("M", bound=BaseModel)


class EntryError(ValueError):
    """Something in the list is wrong; the message says where and what."""


def read_entries(text: str, model: type[M], noun: str) -> list[M]:
    """Return the entries in `text`; nothing means none.

    Raises:
        EntryError: with the number of the entry and what is wrong with it.
    """
    if not text.strip():
        return []
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise EntryError(f"not JSON: {error}") from None
    if not isinstance(entries, list):
        raise EntryError(f"must be a JSON list of {noun}s")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(model.model_validate(entry))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise EntryError(
                f"{noun} {number}: {where + ': ' if where else ''}{in_words(first)}"
            ) from None
    return found


def domain_pattern(value: str) -> str:
    """Return a pattern of domains as domains are compared: in lower case, with A-labels.

    Raises:
        ValueError: a label cannot be one.
    """
    labels = value.lower().split(".")
    try:
        return ".".join(label if label.isascii() else normalise_domain(label) for label in labels)
    except AddressError as error:
        raise ValueError(str(error)) from None
