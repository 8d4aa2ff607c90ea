"""What a fetched file is called: by its Content-Disposition, else by its URL, and made harmless."""

import mimetypes
import re
import unicodedata
from email.message import Message
from urllib.parse import unquote, urlsplit

_LONGEST_HEADER = 2000
_LONGEST_NAME = 150
_LONGEST_EXTENSION = 20


def name_file(disposition: str, url: str, media_type: str | None) -> str | None:
    """Return a name for a file, with an extension if one is known; None if nothing names it."""
    name = clean_name(_in_disposition(disposition)) or clean_name(unquote(urlsplit(url).path))
    if name and "." not in name and media_type:
        name += mimetypes.guess_extension(media_type) or ""
    return name or None


def clean_name(text: str) -> str:
    """Return the last part of a path, without what is invisible or means something to a system."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", text))[-1]
    shown = "".join(
        letter if unicodedata.category(letter)[0] not in "CZ" else " " if letter.isspace() else ""
        for letter in last
        if letter not in '<>:"|?*'
    )
    name = " ".join(shown.split()).strip(". ")
    if len(name) <= _LONGEST_NAME:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > _LONGEST_EXTENSION:
        return name[:_LONGEST_NAME].strip(". ")
    return f"{stem[: _LONGEST_NAME - len(extension) - 1].strip('. ')}.{extension}"


def _in_disposition(header: str) -> str:
    """Return the file name of a Content-Disposition (RFC 6266); empty if there is none."""
    if not header or len(header) > _LONGEST_HEADER:
        return ""
    message = Message()
    try:
        message["content-disposition"] = header
        return message.get_filename() or ""
    except ValueError:  # a charset that cannot decode it
        return ""
