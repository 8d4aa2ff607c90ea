"""Octets made small and large again: Zstandard, of the standard library from Python 3.14 on.

What is compressed here was written by Postroad itself, so its size is known where it is unpacked.
"""

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 1
"""The next levels save a tenth of the space and cost half as much time again (ADR 0023)."""


class Damaged(ValueError):  # noqa: N818 - a fact about the octets
    """The octets cannot be unpacked, or are not as many as they were."""


def compress(data: bytes) -> bytes:
    """Return `data` compressed."""
    return zstd.compress(data, LEVEL)


def decompress(data: bytes, size: int) -> bytes:
    """Return what was compressed to `data`: exactly `size` octets, and never more in memory.

    Raises:
        Damaged: it is not.
    """
    unpacker = zstd.ZstdDecompressor()
    try:
        found = unpacker.decompress(data, max_length=size + 1)
    except zstd.ZstdError as error:
        raise Damaged(f"cannot be unpacked: {error}") from error
    if len(found) != size:
        raise Damaged(f"{len(found)} octets instead of {size}")
    return found
