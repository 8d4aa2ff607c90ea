"""A form that was refused is shown again: on its page, with what was typed, the error at its field.

The page is rendered as for any visit; then the form in it that was sent is filled, whichever page
it is on: an application's forms are all written here, so their HTML is known to be whole.
"""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

from postroad_ingress_http.dashboard.filling import FormFiller, FormPlace
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import Fields

PAGE_FIELD = "page"
"""The hidden field of every form with the path and query of the page it is on."""
_OWN = frozenset({"csrf", PAGE_FIELD})


@dataclass(frozen=True, slots=True)
class Refused:
    """A form that was sent to `action` with `fields` from `page`, and why it was refused.

    `method`: `get` is that of searches, whose forms lead to their own page.
    """

    action: str
    page: str
    fields: Fields
    error: ApiError
    method: str = "post"


@dataclass(slots=True)
class _Form:
    """A form of a page, and its hidden fields."""

    place: FormPlace
    hidden: dict[str, str] = field(default_factory=dict)


def is_page(path: object) -> bool:
    """Whether `path` leads to a page of the dashboard."""
    return isinstance(path, str) and (
        path == "/dashboard" or path.startswith(("/dashboard/", "/dashboard?"))
    )


def filled(html: str, refused: Refused) -> str | None:
    """Return the page with its form filled again and the error shown; None: no such form."""
    forms = _Forms(refused.action, refused.method)
    forms.feed(html)
    sent = {name: _texts(value) for name, value in refused.fields.items()}
    fitting = [
        form
        for form in forms.found
        if all((sent.get(name) or [""])[0] == value for name, value in form.hidden.items())
    ]
    if not fitting:
        return None
    filler = FormFiller(fitting[0].place, sent, refused.error)
    filler.feed(html)
    filler.close()
    return "".join(filler.pieces)


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]


class _Forms(HTMLParser):
    """Finds the forms that are sent to `action`."""

    def __init__(self, action: str, method: str) -> None:
        super().__init__()
        self._action = action
        self._method = method
        self._number = -1
        self._details: list[int] = []
        self._seen_details = -1
        self._form: _Form | None = None
        self.found: list[_Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "details":
            self._seen_details += 1
            self._details.append(self._seen_details)
        elif tag == "form":
            self._number += 1
            action = urlsplit(given.get("action") or self._action).path
            if given.get("method") == self._method and action == self._action:
                self._form = _Form(FormPlace(self._number, [*self._details]))
                self.found.append(self._form)
        elif self._form is not None and (name := given.get("name")):
            if given.get("type") != "hidden":
                self._form.place.names.add(name.removesuffix("[]"))
            elif name not in _OWN:
                self._form.hidden[name] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "details" and self._details:
            self._details.pop()
