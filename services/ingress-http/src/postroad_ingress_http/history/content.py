"""What is in a stored message: its headers, texts and attachments, for the archive and previews.

The message is hostile: only the standard library's parser touches it, nothing in it is followed.
"""

import email
import email.policy
from dataclasses import dataclass
from email.message import EmailMessage

from postroad_common.mail.control import header_end

MAX_PARTS = 500


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An attachment. `size` is in octets."""

    name: str
    media_type: str
    data: bytes

    @property
    def size(self) -> int:
        """The number of octets."""
        return len(self.data)


def headers_of(raw: bytes) -> bytes:
    """Return the header block."""
    return raw[: header_end(raw)]


def text_of(raw: bytes, subtype: str) -> str | None:
    """Return the first text part of `subtype` that is no attachment; None when there is none."""
    for part in _walk(raw):
        if part.get_content_type() == f"text/{subtype}" and not part.is_attachment():
            return _decode(part)
    return None


def attachments_of(raw: bytes) -> list[StoredFile]:
    """Return the attachments in their order."""
    found = []
    for number, part in enumerate(_walk(raw)):
        if part.is_attachment() or (part.get_filename() and not part.is_multipart()):
            data = part.get_payload(decode=True)
            found.append(
                StoredFile(
                    part.get_filename() or f"part-{number}",
                    part.get_content_type(),
                    data if isinstance(data, bytes) else b"",
                )
            )
    return found


def _walk(raw: bytes) -> list[EmailMessage]:
    message = email.message_from_bytes(raw, EmailMessage, policy=email.policy.default)
    found = []
    for part in message.walk():
        found.append(part)
        if len(found) >= MAX_PARTS:
            break
    return found


def _decode(part: EmailMessage) -> str:
    data = part.get_payload(decode=True)
    octets = data if isinstance(data, bytes) else b""
    try:
        return octets.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        return octets.decode("utf-8", "replace")
