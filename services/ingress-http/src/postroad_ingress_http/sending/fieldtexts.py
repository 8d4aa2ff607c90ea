"""The texts in the fields of a mail that may hold tags: read as sources, put back when filled."""

from collections.abc import Mapping, Sequence
from typing import Any

from postroad_ingress_http.sending.mimetexts import MimeTemplate, holds_tags
from postroad_ingress_http.templating.engine import Escaping
from postroad_ingress_http.templating.renderer import TemplateSource

_ESCAPING: Mapping[str, Escaping] = {
    "sender": "address",
    "to": "address",
    "cc": "address",
    "replyto": "address",
    "subject": "line",
    "text": "text",
    "html": "html",
}
_OUTSIDE_NAMES = {"sender": "from"}


class FieldTexts:
    """The texts of the `fields` of a mail: `sources` to fill, `fill` to have the fields again.

    `fields` has the names of `SendFields`; those without a tag are left alone.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.sources: list[TemplateSource] = []
        self._paths: list[tuple[str, int | str | None]] = []
        self._fields = dict(fields)
        self._mime: MimeTemplate | None = None
        for name, escaping in _ESCAPING.items():
            value = fields.get(name)
            outside = _OUTSIDE_NAMES.get(name, name)
            if isinstance(value, str):
                self._add((name, None), outside, value, escaping)
            elif isinstance(value, list):
                for number, item in enumerate(value):
                    self._add((name, number), f"{outside}.{number}", item, escaping)
        for key, value in (fields.get("extra") or {}).items():
            self._add(("extra", key), f"extra.{key}", value, "line")
        if mime := fields.get("mime"):
            self._mime = MimeTemplate(mime if isinstance(mime, bytes) else mime.encode())
            self.sources += self._mime.sources

    def _add(
        self, path: tuple[str, int | str | None], field: str, text: str, escaping: Escaping
    ) -> None:
        if holds_tags(text):
            self._paths.append(path)
            self.sources.append(TemplateSource(field, text, escaping))

    def fill(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the fields with `texts`, in the order of `sources`.

        Raises:
            AddressError: a filled address field of a whole message holds something else.
        """
        filled = dict(self._fields)
        for name in ("to", "cc", "replyto", "extra"):
            if filled.get(name):
                filled[name] = filled[name].copy()
        for (name, key), text in zip(self._paths, texts, strict=False):
            if key is None:
                filled[name] = text
            else:
                filled[name][key] = text
        if self._mime is not None:
            filled["mime"] = self._mime.fill(texts[len(self._paths) :])
        return filled
