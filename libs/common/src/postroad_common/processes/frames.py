"""What goes through the pipes of a worker process: octets behind their length.

A module of its own, so that a process that is kept small need not load what starts it.
"""

import struct

LENGTH = struct.Struct(">I")


def frame(octets: bytes) -> bytes:
    """Return `octets` as they go through a pipe."""
    return LENGTH.pack(len(octets)) + octets
