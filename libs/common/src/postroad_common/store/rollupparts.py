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
"""A kind of part, too. On a day each tag also has a document of its own, as a day may have many."""
OTHER_NAME = "other"
"""Stands for all that have no part of their own."""


class MailPart(NamedTuple):
    """One part: `by` is of `PARTS`, or `TAG`, or empty for all mail."""

    by: str
    name: str


WHOLE = MailPart("", "")
TAGGED = MailPart("tagged", "")
"""The mail of a day of which the document has the tags as parts.

That is all of it, unless a part of it was counted by a version that did not yet do so.
"""


def field_of(part: MailPart) -> str:
    """Return the field with the numbers of a part."""
    if not part.name:
        return part.by or "counts"
    return f"{part.by}s.{key_of(part.name)}"


def whole_field(by: str) -> str:
    """Return the field with the numbers of the mail of a day that its parts of a kind divide."""
    return field_of(TAGGED if by == TAG else WHOLE)


def name_in(field: str) -> str:
    """Return the name of the part whose numbers have this key."""
    return unquote(field)


def key_of(name: str) -> str:
    """Return a name as a key: dots and dollar signs mean something else to the database."""
    return name.replace("%", "%25").replace(".", "%2E").replace("$", "%24").replace("\0", "%00")
