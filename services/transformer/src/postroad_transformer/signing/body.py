"""The body as signatures see it: the relaxed algorithm of RFC 6376, section 3.4.4, over holes."""

import hashlib
from collections.abc import Sequence

from postroad_transformer.segments import Chunk, Hole

_SLICE = 1 << 20  # octets canonicalised at a time: bounds the copies of a large body


class BodyHash:
    """The body hash of a body with holes, by the relaxed algorithm.

    A hole stands between characters that are no white space, so that the chunks can be
    canonicalised one by one.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        whole = _canonicalise_whole(chunks)
        if whole is not None:
            first, *self._between = whole
            self._state = hashlib.sha256(first)
            return
        state = hashlib.sha256()
        between: list[list[bytes]] = []  # what follows each hole
        for chunk in _canonicalise(chunks):
            if isinstance(chunk, Hole):
                between.append([])
            elif between:
                between[-1].append(chunk)
            else:
                state.update(chunk)
        self._state = state
        self._between = [b"".join(pieces) for pieces in between]

    def digest(self, fills: Sequence[bytes] = ()) -> bytes:
        """SHA-256 of the canonical body whose holes are filled with `fills`, in order."""
        state = self._state.copy()
        if fills:
            pairs = zip(fills, self._between, strict=True)
            state.update(b"".join([piece for pair in pairs for piece in pair]))
        return state.digest()


def _canonicalise_whole(chunks: Sequence[Chunk]) -> list[bytes] | None:
    """Return the canonical octets around the holes; None if there are none, or it is too large.

    Octets and holes are in turn, as a template has them: many short chunks are better looked at in
    one.
    """
    octets, holes = chunks[0::2], len(chunks) // 2
    statics = [chunk for chunk in octets if not isinstance(chunk, Hole)]
    if not holes or len(statics) != holes + 1 or len(chunks) != 2 * holes + 1:
        return None
    joined = b"\0".join(statics)
    if len(joined) >= _SLICE or joined.count(b"\0") != holes:
        return None
    return b"".join([part for part in _canonicalise([joined]) if isinstance(part, bytes)]).split(
        b"\0"
    )


def _canonicalise(chunks: Sequence[Chunk]) -> list[Chunk]:
    canonical: list[Chunk] = []
    for chunk in _with_line_end(chunks):
        if isinstance(chunk, Hole):
            canonical.append(chunk)
            continue
        start = 0
        while start < len(chunk):
            stop = start + _SLICE
            if stop < len(chunk):  # cut behind a line, or white space might lie on both sides
                line_end = chunk.find(b"\r\n", stop)
                stop = line_end + 2 if line_end >= 0 else len(chunk)
            canonical.append(_relax_lines(chunk[start:stop]))
            start = stop
    while canonical:  # the empty lines at the end do not count (3.4.4 b)
        last = canonical[-1]
        if isinstance(last, Hole):
            canonical.append(b"\r\n")
            break
        stripped = last.rstrip(b"\r\n")
        if stripped:
            canonical[-1] = stripped + b"\r\n"
            break
        canonical.pop()
    return canonical


def _with_line_end(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    """Return the body as SMTP carries it: its last line ends in CRLF."""
    last = chunks[-1]
    if isinstance(last, Hole) or last.endswith(b"\r\n") or not last:
        return chunks
    return [*chunks[:-1], last + b"\r\n"]


def _relax_lines(octets: bytes) -> bytes:
    """`octets` with white space reduced (RFC 6376 section 3.4.4 a), of whole or cut lines."""
    if b"\t" in octets:
        octets = octets.replace(b"\t", b" ")
    while b"  " in octets:  # each round halves the runs; an expression takes ten times as long
        octets = octets.replace(b"  ", b" ")
    return octets.replace(b" \r\n", b"\r\n") if b" \r\n" in octets else octets
