"""Parts of what the counters of a day or an hour count: a login's, a sender domain's, a provider's.

They are fields of the document that counts all mail, so that they cost no write of their own and
are exact with it: a batch is added to the whole and to its parts, or to neither.
"""

from typing import NamedTuple
from urllib.parse import unquote

LOGIN, DOMAIN, PROVIDER = "login", "domain", "provider"
PARTS = (LOGIN, DOMAIN, PROVIDER)
"""By login or token, by the domain in From, by who runs the receiving servers."""
TAG = "tag"
"""A part of hours only: on a day each tag has a document of its own, as a day may have many."""
OTHER_NAME = "other"
"""Stands for all that have no part of their own."""


class MailPart(NamedTuple):
    """One part: `by` is of `PARTS`, or `TAG`, or empty for all mail."""

    by: str
    name: str


WHOLE = MailPart("", "")


def field_of(part: MailPart) -> str:
    """Return the field with the numbers of a part."""
    return f"{part.by}s.{_escaped(part.name)}" if part.by else "counts"


def name_in(field: str) -> str:
    """Return the name of the part whose numbers have this key."""
    return unquote(field)


def _escaped(name: str) -> str:
    """Return the name as a key: dots and dollar signs mean something else to the database."""
    return name.replace("%", "%25").replace(".", "%2E").replace("$", "%24").replace("\0", "%00")
