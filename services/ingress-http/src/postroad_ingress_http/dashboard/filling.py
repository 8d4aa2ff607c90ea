"""Fills a form of a finished page with what was typed, and shows the error at its field."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape, unescape
from html.parser import HTMLParser

from postroad_ingress_http.http.errors import ApiError

_UNTOUCHED = frozenset({"hidden", "password", "file", "submit", "button"})
Attributes = dict[str, str | None]


@dataclass(slots=True)
class FormPlace:
    """A form by its number on the page; the numbers of the `details` around it; its fields."""

    number: int
    around: list[int] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


class FormFiller(HTMLParser):
    """Copies a page piece by piece; `sent` has the values of each field, by its name."""

    def __init__(self, place: FormPlace, sent: Mapping[str, list[str]], error: ApiError) -> None:
        super().__init__(convert_charrefs=False)
        self._place = place
        self._sent = sent
        self._message = escape(error.message)
        self._wrong = _field_of(error, place.names)
        self._forms = self._details = -1
        self._inside = False
        self._control = ""  # the name of the select or textarea that is open
        self._option: Attributes | None = None
        self._text: list[str] = []  # of the option
        self._dropping = False
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Copy a tag, changed where it is a control of the form."""
        given, raw = dict(attrs), self.get_starttag_text() or ""
        name = (given.get("name") or "").removesuffix("[]")
        if tag == "details":
            self._details += 1
            if self._details in self._place.around and "open" not in given:
                raw = write_tag(tag, {**given, "open": None})
        elif tag == "form":
            self._forms += 1
            self._inside = self._forms == self._place.number
            if self._inside and not self._wrong:
                raw += f'<p class="notice bad" role="alert">{self._message}</p>'
        elif self._inside and tag == "input" and name and given.get("type") not in _UNTOUCHED:
            raw = self._marked(tag, name, self._typed(name, given)) + self._told(name)
        elif self._inside and tag in {"select", "textarea"}:
            self._control = name
            raw = self._marked(tag, name, given)
            if tag == "textarea" and name in self._sent:
                self._dropping = True
                raw += "\n" + escape("".join(self._sent[name][:1]))
        elif self._inside and tag == "option" and self._control in self._sent:
            self._option, self._text = given, []
            return
        self.pieces.append(raw)

    def handle_endtag(self, tag: str) -> None:
        """Copy the end of an element."""
        if tag == "option" and self._option is not None:
            self.pieces.append(self._chosen(self._option, "".join(self._text)))
            self._option = None
        self.pieces.append(f"</{tag}>")
        if tag in {"select", "textarea"} and self._control:
            self._dropping = False
            self.pieces.append(self._told(self._control))
            self._control = ""
        elif tag == "form":
            self._inside = False

    def handle_data(self, data: str) -> None:
        """Copy a text."""
        if self._option is not None:
            self._text.append(data)
        elif not self._dropping:
            self.pieces.append(data)

    def handle_entityref(self, name: str) -> None:
        """Copy a character with a name."""
        self.handle_data(f"&{name};")

    def handle_charref(self, name: str) -> None:
        """Copy a character with a number."""
        self.handle_data(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        """Copy a comment."""
        self.pieces.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        """Copy the document type."""
        self.pieces.append(f"<!{decl}>")

    def _typed(self, name: str, given: Attributes) -> Attributes:
        """Return the attributes of an input with what was typed or ticked."""
        values = self._sent.get(name, [])
        if given.get("type") not in {"checkbox", "radio"}:
            return given | ({"value": values[0]} if values else {})
        given.pop("checked", None)
        return given | ({"checked": None} if given.get("value", "on") in values else {})

    def _chosen(self, given: Attributes, text: str) -> str:
        """Return an option, selected if it was chosen."""
        given.pop("selected", None)
        value = given.get("value", unescape(text.strip()))
        chosen: Attributes = {"selected": None} if value in self._sent[self._control] else {}
        return write_tag("option", given | chosen) + text

    def _marked(self, tag: str, name: str, given: Attributes) -> str:
        wrong: Attributes = {"aria-invalid": "true", "aria-describedby": "wrong"}
        return write_tag(tag, given | (wrong if name == self._wrong else {}))

    def _told(self, name: str) -> str:
        """Return the error after the first control of the field that is wrong."""
        if name != self._wrong or not self._message:
            return ""
        told = f'<span class="wrong" id="wrong" role="alert">{self._message}</span>'
        self._message = ""
        return told


def write_tag(tag: str, given: Attributes) -> str:
    """Return the start tag of an element."""
    pairs = (
        f" {name}" if value is None else f' {name}="{escape(value)}"'
        for name, value in given.items()
    )
    return f"<{tag}{''.join(pairs)}>"


def _field_of(error: ApiError, names: set[str]) -> str:
    """Return the field of the form that the error is about; empty where it is about none."""
    told = (error.field or "").split(".")
    candidates = (error.field or "", told[0], told[-1])
    return next((name for name in candidates if name in names), "")
