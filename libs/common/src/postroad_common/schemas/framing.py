"""The frame: how a schema and a MIME message share one AMQP body.

Four octets of magic and version, four of length (big endian), that many octets of JSON, and the
message as it is: no base64, no re-encoding.
"""

import json
import struct
from typing import Any, TypeVar

from pydantic import ValidationError

from postroad_common.schemas.model import Schema

_MAGIC = b"PRF1"
_HEAD = struct.Struct(">4sI")

M = TypeVar("M", bound=Schema)


class FrameError(ValueError):
    """Octets that are no frame of the expected kind."""


def encode(envelope: Schema, body: bytes | bytearray | memoryview = b"") -> bytes:
    """Return the frame of `envelope` and `body`."""
    return b"".join((encode_head(envelope), body))


def encode_head(envelope: Schema) -> bytes:
    """Return the frame of `envelope` up to its body, for those who write that in pieces."""
    text = envelope.wire()
    return b"".join((_HEAD.pack(_MAGIC, len(text)), text))


def decode(kind: type[M], frame: bytes) -> tuple[M, memoryview]:
    """Return the envelope in `frame`, validated as `kind`, and the body (a view, not a copy).

    Raises:
        FrameError: it is not such a frame.
    """
    view = memoryview(frame)
    end = _end_of_envelope(frame)
    try:
        envelope = kind.model_validate_json(bytes(view[_HEAD.size : end]))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FrameError(f"not a {kind.__name__}: {where}: {first['msg']}") from error
    return envelope, view[end:]


def read_envelope(frame: bytes) -> dict[str, Any]:
    """Return the envelope in `frame` as it is, for those who want to save what `decode` refuses.

    Raises:
        FrameError: it is no frame, or its envelope is no JSON object.
    """
    try:
        envelope = json.loads(frame[_HEAD.size : _end_of_envelope(frame)])
    except (ValueError, RecursionError) as error:
        raise FrameError(f"its envelope is not JSON: {error}") from error
    if not isinstance(envelope, dict):
        raise FrameError("its envelope is no JSON object")
    return envelope


def _end_of_envelope(frame: bytes) -> int:
    if len(frame) < _HEAD.size:
        raise FrameError("shorter than the head of a frame")
    magic, length = _HEAD.unpack_from(frame)
    end: int = _HEAD.size + length
    if magic != _MAGIC or end > len(frame):
        raise FrameError("not a frame, or cut short")
    return end
