"""The HTML parts of one message, each decoded, rewritten and encoded."""

import functools
from dataclasses import replace
from typing import Any, NamedTuple

from postroad_common.store.images import HostedImage
from postroad_transformer import budget
from postroad_transformer.composing.encoding import Encoded, encode
from postroad_transformer.composing.pieces import Piece, removed_images, replacements
from postroad_transformer.composing.rewrite import (
    MAX_HTML,
    Outcome,
    Rewriter,
    State,
    describe_outcomes,
)
from postroad_transformer.reading.decoding import Undecodable, decode
from postroad_transformer.reading.fields import Block
from postroad_transformer.reading.mime import HtmlPart, html_parts
from postroad_transformer.tracking.hosting import Hosting, read_images

MAX_REMEMBERED = 65_536  # octets of a part


def rewrite_parts(
    raw: bytes, block: Block, rewriter: Rewriter, facts: dict[str, Any], *, hosts: bool
) -> tuple[list[Piece], tuple[HostedImage, ...]]:
    """Return the replacements in the HTML parts, and the images that are hosted from now on.

    Raises:
        Malformed: nothing should be changed.
        HeavyError: it is more than the event loop may do, where that is asked for.
    """
    structure = html_parts(raw, block)
    if rewriter.light:
        budget.check_octets(sum(part.end - part.body for part in structure.parts))
    images = read_images(raw, structure.images) if hosts and structure.parts else {}
    if images:
        digests = tuple((cid, image.digest) for cid, image in images.items())
        rewriter = replace(rewriter, hosting=Hosting(digests, rewriter.features.openstracking))
    reasons = dict.fromkeys(f"left as it is: {reason}" for reason in structure.reasons)
    outcomes: list[Outcome] = []
    pieces: list[Piece] = []
    state = State()
    for index, part in enumerate(structure.parts):
        try:
            outcome, encoded = _part(raw, part, rewriter, state, pixel=index == 0)
        except Undecodable as error:
            reasons[f"HTML left as it is: {error}"] = None
            continue
        outcomes.append(outcome)
        state = outcome.state
        if encoded is not None:
            pieces += replacements(part, encoded)
    if not structure.parts and not reasons:
        reasons["no HTML"] = None
    if reasons:
        facts["mime"] = list(reasons)
    facts |= describe_outcomes(outcomes)
    hosted = frozenset[str]().union(*(outcome.hosted for outcome in outcomes))
    # HTML that was passed over may show an image as well.
    is_whole = len(outcomes) == len(structure.parts) and not structure.reasons
    embedded = frozenset[str]().union(*(outcome.embedded for outcome in outcomes))
    if is_whole:
        pieces += removed_images(structure, hosted - embedded)
    return pieces, tuple(image for cid, image in images.items() if cid in hosted)


def _part(
    raw: bytes, part: HtmlPart, rewriter: Rewriter, state: State, *, pixel: bool
) -> tuple[Outcome, Encoded | None]:
    size = part.end - part.body
    if size > 3 * MAX_HTML:  # quoted-printable may take three octets for one
        raise Undecodable("larger than 2 MiB")
    work = _rewrite_part if size <= MAX_REMEMBERED else _rewrite_part.__wrapped__
    text = _PartText(raw[part.body : part.end], part.encoding, part.charset)
    return work(text, rewriter, state, pixel=pixel)


class _PartText(NamedTuple):
    body: bytes
    encoding: str
    charset: str


@functools.lru_cache(maxsize=128)
def _rewrite_part(
    part: _PartText, rewriter: Rewriter, state: State, *, pixel: bool
) -> tuple[Outcome, Encoded | None]:
    """Return what becomes of a part's body.

    Remembered, because senders often hand in one mail many times, once for each recipient.
    """
    text, codec = decode(part.body, part.encoding, part.charset)
    if len(text) > MAX_HTML:
        raise Undecodable("larger than 2 MiB")
    outcome = rewriter.rewrite(text, state, pixel=pixel)
    if outcome.segments is None:
        return outcome, None
    return outcome._replace(segments=[]), encode(outcome.segments, codec, part.encoding)
