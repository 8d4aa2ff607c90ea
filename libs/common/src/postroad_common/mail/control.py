"""Control headers: `x-smtpeter-*` and their `x-postroad-*` aliases, read once and taken out.

They are instructions to Postroad, never part of the mail: every header with one of the two
prefixes is removed before delivery, known or not.
"""

import re
from dataclasses import dataclass, field

from postroad_common.mail.tracecontext import read_traceparent

FEATURE_NAMES = {
    "inlinecss": "inlinecss",
    "inlinizecss": "inlinecss",
    "trackclicks": "clicktracking",
    "clicktracking": "clicktracking",
    "trackopens": "openstracking",
    "openstracking": "openstracking",
    "trackbounces": "bouncetracking",
    "bouncetracking": "bouncetracking",
    "preventscam": "preventscam",
}
"""Every spelling of a feature, as header suffix or REST field, and the feature it means."""

_SWITCHES = {
    "textfromhtml": "text_from_html",
    "unsubscribe": "list_unsubscribe",
    "keepcontent": "keep_content",
    "keep-content": "keep_content",
    "test": "test",
}

MAX_INVALID_LINES = 20
"""Lines in a row that are no header field, as bad lines of a header; more of them are text."""
MAX_TAGS = 32
MAX_TAG_LENGTH = 128
MAX_LIST_LENGTH = 200

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}
_TAG = re.compile(r"[^\s;,\x00-\x1f\x7f]+")
_MARKS = rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)*+"  # byte order marks, before a field
_HEADER = re.compile(
    rb"^"
    + _MARKS
    + rb"x-(?:smtpeter|postroad)-([!-9;-~]*)[ \t]*:((?:[^\r\n]|\r\n[ \t]|\n[ \t])*)(?:\r\n|\n|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD = re.compile(_MARKS + rb"[!-9;-~]++[ \t]*+:[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*+(?:\r?\n|\Z)")
_PREFIXES = (b"x-smtpeter-", b"x-postroad-")


class ControlError(ValueError):
    """A control header with a value that is not understood."""

    def __init__(self, header: str, message: str) -> None:
        super().__init__(f"{header}: {message}")
        self.header = header


@dataclass(frozen=True, slots=True)
class Controls:
    """What the control headers of a message ask for, and the message without them."""

    stripped: bytes
    features: dict[str, bool] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    images_hosted: bool | None = None
    text_from_html: bool | None = None
    list_unsubscribe: bool | None = None
    list: str | None = None
    keep_content: bool | None = None
    test: bool = False
    traceparent: str = ""


def parse_switch(name: str, value: str) -> bool:
    """true/false/1/0/yes/no/on/off in any case.

    Raises:
        ControlError: anything else; `name` is the header or field to blame.
    """
    lowered = value.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ControlError(name, "must be true or false (also 1, 0, yes, no, on, off)")


def parse_list(name: str, value: str) -> str:
    """Return the name of a list, in lower case.

    Raises:
        ControlError: it is too long, or has control characters.
    """
    text = " ".join(value.split()).lower()
    if len(text) > MAX_LIST_LENGTH or not text.isprintable():
        raise ControlError(name, f"at most {MAX_LIST_LENGTH} printable characters")
    return text


def parse_tags(name: str, values: list[str]) -> tuple[str, ...]:
    """Return the tags in `values`, without repetitions, in their order.

    Raises:
        ControlError: a tag has white space or a semicolon, or there are too many.
    """
    tags: list[str] = []
    for value in values:
        tag = value.strip()
        if not tag:
            continue
        if not _TAG.fullmatch(tag) or len(tag) > MAX_TAG_LENGTH:
            raise ControlError(name, "a tag has no white space, comma or semicolon")
        if tag not in tags:
            tags.append(tag)
    if len(tags) > MAX_TAGS:
        raise ControlError(name, f"at most {MAX_TAGS} tags")
    return tuple(tags)


def header_end(raw: bytes) -> int:
    """Return the offset after the blank line that ends the header block, else `len(raw)`."""
    if raw.startswith(b"\r\n"):
        return 2
    crlf = raw.find(b"\r\n\r\n")
    bare = raw.find(b"\n\n", 0, crlf if crlf >= 0 else len(raw))
    if bare >= 0:
        return bare + 2
    return crlf + 4 if crlf >= 0 else len(raw)


def read_controls(raw: bytes) -> Controls:
    """Return what the control headers of the message `raw` say.

    When a header is given more than once, the last one counts; tags add up. Without any control
    header `stripped` is `raw` itself, not a copy.

    Raises:
        ControlError: a value is not understood.
    """
    end = header_end(raw)
    block = raw[:end]
    lowered = block.lower()
    if not any(prefix in lowered for prefix in _PREFIXES):
        return Controls(raw)
    end = _text_start(block)
    block = raw[:end]
    features: dict[str, bool] = {}
    tags: list[str] = []
    images_hosted = None
    list_name = None
    traceparent = ""
    switches: dict[str, bool] = {}
    found = False
    for match in _HEADER.finditer(block):
        found = True
        suffix = match[1].decode("ascii", "replace").lower()
        header = f"x-smtpeter-{suffix}"
        value = " ".join(match[2].decode("utf-8", "replace").split())
        if suffix in FEATURE_NAMES:
            features[FEATURE_NAMES[suffix]] = parse_switch(header, value)
        elif suffix in _SWITCHES:
            switches[_SWITCHES[suffix]] = parse_switch(header, value)
        elif suffix == "tags":
            tags.extend(re.split("[,;]", value))
        elif suffix == "list":
            list_name = parse_list(header, value)
        elif suffix == "traceparent":
            traceparent = read_traceparent(value)
        elif suffix == "images":
            images_hosted = _parse_images(header, value)
    if not found:
        return Controls(raw)
    return Controls(
        stripped=_HEADER.sub(b"", block) + raw[end:],
        features=features,
        tags=parse_tags("x-smtpeter-tags", tags),
        images_hosted=images_hosted,
        text_from_html=switches.get("text_from_html"),
        list_unsubscribe=switches.get("list_unsubscribe"),
        list=list_name,
        keep_content=switches.get("keep_content"),
        test=switches.get("test", False),
        traceparent=traceparent,
    )


def _text_start(block: bytes) -> int:
    """Return where text begins that no blank line parts from the header, else the whole length.

    Up to `MAX_INVALID_LINES` lines in a row that are no field are bad lines of a header.
    """
    position = first_invalid = invalid = 0
    size = len(block)
    while position < size:
        field = _FIELD.match(block, position)
        if field:
            position, invalid = field.end(), 0
            continue
        if not invalid:
            first_invalid = position
        if not invalid or block[position] not in b" \t":  # what continues a bad line is of it
            invalid += 1
        if invalid > MAX_INVALID_LINES:
            return first_invalid
        position = block.find(b"\n", position) + 1 or size
    return size


def _parse_images(header: str, value: str) -> bool:
    lowered = value.lower()
    if lowered not in {"hosted", "default"}:
        raise ControlError(header, "must be hosted or default")
    return lowered == "hosted"
