"""What is in a message: its headers, texts and files, for the archive and the dashboard.

The message is hostile: the bounded reader (`postroad_common.mail.mime`) splits it, nothing in it is
followed. Reading takes time in proportion to its size, so it is done beside the event loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message

from postroad_common.mail import mime
from postroad_common.mail.control import header_end
from postroad_common.mail.decoding import decode_text, decode_words

MAX_PARTS = 500
MAX_TEXT = 4_194_304  # octets of a text before its transfer encoding is undone
MAX_SHOWN_HEADERS = 200
_NAME_LENGTH = 255


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An attachment, or an embedded image with its Content-ID; `number` counts from 0."""

    number: int
    name: str
    media_type: str
    content_id: str
    part: mime.Part

    @property
    def data(self) -> bytes:
        """Its octets, decoded."""
        return self.part.content(self.part.size)


class MailContent:
    """A message taken apart. `is_cut`: it has more parts than are looked at."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.top = mime.read(raw, MAX_PARTS)
        parts = list(self.top.walk())
        self.is_cut = len(parts) >= MAX_PARTS
        leaves = [part for part in parts if not part.children]
        self._plain = _first(leaves, "text/plain")
        self._html = _first(leaves, "text/html")
        files = [part for part in leaves if part is not self._plain and part is not self._html]
        html = self.html or ""
        self.embeds = _numbered([part for part in files if _is_embedded(part, html)])
        self.attachments = _numbered([part for part in files if not _is_embedded(part, html)])

    @property
    def header_block(self) -> bytes:
        """The header with its blank line, as it is."""
        return self.raw[: header_end(self.raw)]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names and decoded values, in their order; the first two hundred."""
        fields = self.top.headers.fields[:MAX_SHOWN_HEADERS]
        return [(name, decode_words(value)) for name, value in fields]

    @property
    def text(self) -> str | None:
        """The first plain text that is no attachment; None when there is none."""
        return _decoded(self._plain)

    @property
    def html(self) -> str | None:
        """The first HTML that is no attachment; None when there is none."""
        return _decoded(self._html)


def find_file(files: Sequence[StoredFile], wanted: str) -> StoredFile | None:
    """Return the file with this number, else the first with this name."""
    if wanted.isascii() and wanted.isdigit() and int(wanted[:9]) < len(files):
        return files[int(wanted[:9])]
    return next((file for file in files if file.name == wanted), None)


def _first(leaves: Sequence[mime.Part], media_type: str) -> mime.Part | None:
    for part in leaves:
        if part.media_type == media_type and not _disposition(part).startswith("attachment"):
            return part
    return None


def _disposition(part: mime.Part) -> str:
    return part.headers.get("content-disposition").strip().lower()


def _content_id(part: mime.Part) -> str:
    return part.headers.get("content-id").strip(" <>")[:_NAME_LENGTH]


def _is_embedded(part: mime.Part, html: str) -> bool:
    """Tell whether the HTML shows the part, or may: many programs call all files attachments."""
    content_id = _content_id(part)
    if not content_id:
        return False
    return not _disposition(part).startswith("attachment") or f"cid:{content_id}" in html


def _numbered(parts: Sequence[mime.Part]) -> list[StoredFile]:
    return [
        StoredFile(
            number,
            _name(part) or f"part-{number}",
            part.media_type,
            _content_id(part),
            part,
        )
        for number, part in enumerate(parts)
    ]


def _name(part: mime.Part) -> str:
    """Return the file name (RFC 2183, RFC 2231, and encoded words, which many write)."""
    header = Message()
    for field in ("content-disposition", "content-type"):
        if part.headers.has(field):
            header[field] = part.headers.get(field)[:4000]
    try:
        name = header.get_filename("")
    except (ValueError, LookupError, TypeError):
        name = ""
    clean = "".join(c for c in decode_words(name) if c.isprintable())
    return clean[:_NAME_LENGTH]


def _decoded(part: mime.Part | None) -> str | None:
    if part is None:
        return None
    return decode_text(part.content(MAX_TEXT), part.parameters.get("charset", ""))
