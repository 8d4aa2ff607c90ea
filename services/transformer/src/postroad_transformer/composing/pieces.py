"""Replacements in the octets of a message, and the body with them put in."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from postroad_transformer.composing.encoding import Encoded
from postroad_transformer.composing.headers import Header
from postroad_transformer.reading.fields import Block
from postroad_transformer.reading.mime import HtmlPart, Structure
from postroad_transformer.segments import Chunk


@dataclass(frozen=True, slots=True)
class Piece:
    """What replaces the octets of the message from `start` to `end`: octets, holes in turn."""

    start: int
    end: int
    chunks: list[Chunk]


def replacements(part: HtmlPart, encoded: Encoded) -> list[Piece]:
    """Return the new body, and the header field if its encoding is another."""
    pieces = [Piece(part.body, part.end, encoded.chunks)]
    if encoded.encoding is not None:
        field_ = part.encoding_field
        start, end = (field_.start, field_.end) if field_ else (part.fields_end, part.fields_end)
        line = f"Content-Transfer-Encoding: {encoded.encoding}\r\n".encode("ascii")
        pieces.append(Piece(start, end, [line]))
    return pieces


def with_encoding(header: Header, raw: bytes, block: Block, pieces: list[Piece]) -> Header:
    """Return the header, with the new encoding where the message is itself the HTML."""
    top = [piece for piece in pieces if piece.start < block.body and piece.end <= block.body]
    if not top:
        return header
    piece = top[0]
    line = piece.chunks[0]
    if piece.start == piece.end:
        return Header((*header.fields, (line,)), header.added, header.removed)
    old = raw[piece.start : piece.end]
    fields = tuple((line,) if parts[0] == old else parts for parts in header.fields)
    return Header(fields, header.added, header.removed)


def assemble(raw: bytes, block: Block, pieces: list[Piece]) -> list[Chunk]:
    """Return the body with its replacements; neighbouring octets joined."""
    chunks: list[Chunk] = []
    waiting: list[bytes] = []
    done = block.body
    for piece in sorted(pieces, key=lambda piece: (piece.start, piece.end)):
        waiting.append(raw[done : piece.start])
        octets: Any = piece.chunks[0::2]
        if len(octets) > 1:
            chunks.append(b"".join((*waiting, octets[0])))
            chunks += piece.chunks[1:-1]
            waiting = []
        waiting += octets[-1:]
        done = piece.end
    waiting.append(raw[done:])
    chunks.append(b"".join(waiting))
    return chunks


def removed_images(structure: Structure, cids: AbstractSet[str]) -> list[Piece]:
    """Return the removal of the first image with each of these Content-IDs."""
    first = {image.cid: image for image in reversed(structure.images)}
    return [Piece(image.start, image.stop, []) for cid, image in first.items() if cid in cids]
