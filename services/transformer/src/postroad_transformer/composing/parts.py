"""The HTML parts of one message, each decoded, rewritten and encoded."""

from dataclasses import replace
from typing import Any, NamedTuple

from postroad_common.caching import Cache
from postroad_common.store.images import HostedImage
from postroad_transformer import budget
from postroad_transformer.composing.encoding import Encoded, encode
from postroad_transformer.composing.pieces import Piece, removed_images, replacements
from postroad_transformer.composing.rewrite import (
    MAX_HTML,
    RewriteOutcome,
    Rewriter,
    State,
    describe_outcomes,
)
from postroad_transformer.reading.decoding import Undecodable, decode
from postroad_transformer.reading.fields import Block
from postroad_transformer.reading.mime import HtmlPart, html_parts
from postroad_transformer.tracking.hosting import Hosting, read_images

MAX_REMEMBERED = 65_536  # octets of a part
REMEMBERED = 1 << 24  # octets of parts and of what became of them


class _Rewritten(NamedTuple):
    """What became of a part; `encoded` is None where it stays as it is. `size` is in octets."""

    outcome: RewriteOutcome
    encoded: Encoded | None
    size: int


_rewritten: Cache[tuple[Any, ...], _Rewritten] = Cache(
    REMEMBERED, weigh=lambda found: found.size + 2_000
)


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
    outcomes: list[RewriteOutcome] = []
    pieces: list[Piece] = []
    state = State()
    pixel = True  # the first part that can take one gets it
    for part in structure.parts:
        try:
            outcome, encoded, _ = _part(raw, part, rewriter, state, pixel=pixel)
        except Undecodable as error:
            reasons[f"HTML left as it is: {error}"] = None
            continue
        outcomes.append(outcome)
        state, pixel = outcome.state, pixel and not outcome.pixel
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
) -> _Rewritten:
    size = part.end - part.body
    if size > 3 * MAX_HTML:  # quoted-printable may take three octets for one
        raise Undecodable("larger than 2 MiB")
    body = raw[part.body : part.end]
    if size > MAX_REMEMBERED:
        return _rewrite_part(body, part, rewriter, state, pixel=pixel)
    # Senders often hand in one mail many times, once for each recipient.
    key = (body, part.encoding, part.charset, rewriter, state, pixel)
    found = _rewritten.get(key)
    if found is None:
        found = _rewrite_part(body, part, rewriter, state, pixel=pixel)
        _rewritten.put(key, found)
    return found


def _rewrite_part(
    body: bytes, part: HtmlPart, rewriter: Rewriter, state: State, *, pixel: bool
) -> _Rewritten:
    """Return what becomes of a part's body."""
    text, codec = decode(body, part.encoding, part.charset)
    if len(text) > MAX_HTML:
        raise Undecodable("larger than 2 MiB")
    outcome = rewriter.rewrite(text, state, pixel=pixel)
    if outcome.segments is None:
        return _Rewritten(outcome, None, len(body))
    encoded = encode(outcome.segments, codec, part.encoding)
    octets = sum(map(len, encoded.chunks[0::2]))
    return _Rewritten(outcome._replace(segments=[]), encoded, len(body) + octets)
