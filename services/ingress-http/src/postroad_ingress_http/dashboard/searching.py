"""A search as a page has it: the fields of its form, and how they read."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request

from postroad_ingress_http.dashboard.forms import text
from postroad_ingress_http.history.search import NAMES
from postroad_ingress_http.http.fields import Fields

LABELS: Mapping[str, str] = {
    "recipient": "Recipient",
    "subject": "Subject",
    "sender": "From",
    "envelope": "Envelope sender",
    "login": "Login or token",
    "tag": "Tag",
    "state": "State",
    "submission": "Submission",
    "template": "Template",
    "source": "Handed in by",
    "opened": "Opened",
    "clicked": "Clicked",
    "complained": "Complained",
    "test": "Test",
    "start": "Since",
    "end": "Until",
}
_LONGEST = 400


def asked_by(request: Request) -> dict[str, str]:
    """Return the search in the address of a page; what is not asked for is empty."""
    return {name: request.query_params.get(name, "").strip()[:_LONGEST] for name in NAMES}


def search_in(fields: Fields) -> dict[str, str]:
    """Return the search in a form, without what is not asked for.

    Raises:
        ApiError: 400, a field is no text.
    """
    given = {name: text(fields, name).strip()[:_LONGEST] for name in NAMES}
    return {name: value for name, value in given.items() if value}


def told(search: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what a search asks for, by the labels of its fields."""
    return [(label, search[name]) for name, label in LABELS.items() if search.get(name)]


def page_of(search: Mapping[str, str]) -> str:
    """Return the address of the page that shows what the search finds."""
    return f"/dashboard/messages?{urlencode({k: v for k, v in search.items() if v})}"
