"""The bundle: several frames that share one AMQP message because they go the same way.

Four octets of magic and version, four with how many frames there are, four with the length of each
(big endian), and the frames as they are (`framing`). A single frame travels without a bundle.
"""

import struct
from collections.abc import Sequence

from postroad_common.schemas.framing import FrameError

_MAGIC = b"PRB1"
_HEAD = struct.Struct(">4sI")
_LENGTH = 4  # octets


def bundle(frames: Sequence[bytes]) -> bytes:
    """Return one body with all of `frames`: the frame itself, if there is one only."""
    if len(frames) == 1:
        return frames[0]
    lengths = struct.pack(f">{len(frames)}I", *map(len, frames))
    return b"".join((_HEAD.pack(_MAGIC, len(frames)), lengths, *frames))


def is_bundle(body: bytes) -> bool:
    """Whether `body` may be taken apart by `unbundle`."""
    return body.startswith(_MAGIC)


def unbundle(body: bytes) -> list[bytes]:
    """Return the frames in `body`, in their order.

    Raises:
        FrameError: it is no bundle, or cut short.
    """
    if len(body) < _HEAD.size:
        raise FrameError("shorter than the head of a bundle")
    magic, count = _HEAD.unpack_from(body)
    at = _HEAD.size + _LENGTH * count
    if magic != _MAGIC or not count or at > len(body):
        raise FrameError("not a bundle, or cut short")
    frames = []
    for length in struct.unpack_from(f">{count}I", body, _HEAD.size):
        frames.append(bytes(body[at : at + length]))
        at += length
    if at != len(body):
        raise FrameError("the frames of a bundle do not fill it")
    return frames
