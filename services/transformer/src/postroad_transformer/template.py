"""The expensive work, done once per submission: from the message as handed in to a template.

A template holds everything that is the same for all recipients, with holes for what is not.
Whatever goes wrong with the content leaves that content as it was, with the reason among the
facts; a message is never refused here.
"""

import functools
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from postroad_common.schemas.submission import Submission
from postroad_common.store.images import HostedImage
from postroad_common.tokens import LinkSigner
from postroad_transformer.css import EngineName
from postroad_transformer.fields import Block, mended_header, read_block
from postroad_transformer.headers import (
    Header,
    HeaderRules,
    build,
    sender_domain,
    unsubscribe_urls,
)
from postroad_transformer.hosting import Hosting, read_images
from postroad_transformer.links import LinkRules
from postroad_transformer.mime import HtmlPart, Malformed, Structure, html_parts
from postroad_transformer.plaintext import with_text
from postroad_transformer.rewrite import MAX_HTML, Outcome, Rewriter, State
from postroad_transformer.rewrite import facts as told_of
from postroad_transformer.segments import Hole
from postroad_transformer.transfer import Chunk, Encoded, Undecodable, decode, encode

MAX_REMEMBERED = 65_536  # octets of a part
_NEWLINE = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Rules:
    """What is the same for all messages: names, URLs, the engine."""

    header: HeaderRules
    base_url: str
    engine: EngineName = "css-inline"

    def at(self, host: str | None) -> "Rules":
        """Return the same with `host` in the tracking URLs; what comes after the host stays."""
        if host is None:
            return self
        scheme, _, rest = self.base_url.partition("://")
        base = f"{scheme}://{host}{rest[rest.find('/') :] if '/' in rest else ''}"
        url = None if self.header.unsubscribe_url is None else base
        return replace(self, base_url=base, header=replace(self.header, unsubscribe_url=url))

    def for_header(self, submission: Submission) -> HeaderRules:
        """Return what applies to the header of this submission."""
        if submission.list_unsubscribe is None:
            return self.header
        url = self.base_url.rstrip("/") if submission.list_unsubscribe else None
        return replace(self.header, unsubscribe_url=url)


@dataclass(frozen=True, slots=True)
class Template:
    """A message with holes. `body` starts behind the header's blank line.

    `body_at` is where the body stands in the message as handed in, if none of it has changed;
    -1 otherwise. `facts` is what was done, for the timeline. `images` must be stored for the
    tracker before the mail goes out.
    """

    header: Header
    body: tuple[Chunk, ...]
    body_at: int
    sender_domain: str | None
    facts: dict[str, Any] = field(default_factory=dict)
    images: tuple[HostedImage, ...] = ()

    @property
    def holes(self) -> tuple[Hole, ...]:
        """The holes of the body, in order."""
        return tuple(chunk for chunk in self.body if isinstance(chunk, Hole))

    @property
    def is_personal(self) -> bool:
        """Whether the content differs between recipients."""
        return self.header.static is None or any(isinstance(chunk, Hole) for chunk in self.body)

    @property
    def body_size(self) -> int:
        """The size of the filled body, in octets."""
        return sum(
            len(chunk) if isinstance(chunk, bytes) else LinkSigner.HEAD_LENGTH
            for chunk in self.body
        )


def make_template(raw: bytes, submission: Submission, rules: Rules) -> Template:
    """Make the template of the message `raw`, submitted as `submission`."""
    facts: dict[str, Any] = {}
    message, block = _readable(raw, facts)
    if submission.text_from_html:
        message, block = _with_text(message, block, submission, facts)
    header = build(message, block, submission, rules.for_header(submission))
    features = submission.features
    unsubscribe = unsubscribe_urls(message, block) if features.clicktracking else ()
    link_rules = LinkRules(rules.base_url.rstrip("/"), features.preventscam, frozenset(unsubscribe))
    rewriter = Rewriter(features, link_rules, rules.engine)
    pieces: list[_Piece] = []
    images: tuple[HostedImage, ...] = ()
    if not rewriter.is_idle or submission.images_hosted:
        try:
            pieces, images = _rewritten(
                message, block, rewriter, facts, hosts=submission.images_hosted
            )
        except Malformed as malformed:
            facts["mime"] = [f"left as it is: {malformed}"]
    header = _with_encoding(header, message, block, pieces)
    if header.added:
        facts["added"] = list(header.added)
    if header.removed:
        facts["removed"] = list(header.removed)
    body = _assembled(message, block, [piece for piece in pieces if piece.start >= block.body])
    unchanged = message is raw and not pieces
    return Template(
        header,
        tuple(body),
        block.body if unchanged else -1,
        sender_domain(message, block),
        facts,
        images,
    )


def _readable(raw: bytes, facts: dict[str, Any]) -> tuple[bytes, Block]:
    """Return the message with CRLF line ends, and its header."""
    count = raw.count(b"\n")
    if not count == raw.count(b"\r") == raw.count(b"\r\n"):
        raw = _NEWLINE.sub(b"\r\n", raw)
        facts["line_ends"] = "made CRLF"
    mended = mended_header(raw)
    if mended is not raw:
        facts["header"] = "mended: a line that was no field"
        raw = mended
    try:
        return raw, read_block(raw, 0, len(raw))
    except ValueError as error:  # no mail has that many fields: all of it is body
        facts["mime"] = [f"left as it is: {error}"]
        return raw, Block((), 0, separated=False)


def _with_text(
    raw: bytes, block: Block, submission: Submission, facts: dict[str, Any]
) -> tuple[bytes, Block]:
    """Return the message with a plain text made from its HTML, if it has none."""
    try:
        changed = with_text(raw, block, f"=_text_{submission.id}")
    except (Malformed, Undecodable) as error:
        facts["text"] = f"not made: {error}"
        return raw, block
    if changed is None:
        return raw, block
    facts["text"] = "made from HTML"
    return changed, read_block(changed, 0, len(changed))


@dataclass(frozen=True, slots=True)
class _Piece:
    """What replaces the octets of the message from `start` to `end`."""

    start: int
    end: int
    chunks: list[Chunk]


def _rewritten(
    raw: bytes, block: Block, rewriter: Rewriter, facts: dict[str, Any], *, hosts: bool
) -> tuple[list[_Piece], tuple[HostedImage, ...]]:
    """Return the replacements in the HTML parts, and the images that are hosted from now on.

    Raises:
        Malformed: nothing should be changed.
    """
    structure = html_parts(raw, block)
    images = read_images(raw, structure.images) if hosts and structure.parts else {}
    if images:
        digests = tuple((cid, image.digest) for cid, image in images.items())
        rewriter = replace(rewriter, hosting=Hosting(digests, rewriter.features.openstracking))
    reasons = dict.fromkeys(f"left as it is: {reason}" for reason in structure.reasons)
    outcomes: list[Outcome] = []
    pieces: list[_Piece] = []
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
            pieces += _replaced(part, encoded)
    if not structure.parts and not reasons:
        reasons["no HTML"] = None
    if reasons:
        facts["mime"] = list(reasons)
    facts |= told_of(outcomes)
    hosted = frozenset[str]().union(*(outcome.hosted for outcome in outcomes))
    # HTML that was passed over may show an image as well.
    is_whole = len(outcomes) == len(structure.parts) and not structure.reasons
    embedded = frozenset[str]().union(*(outcome.embedded for outcome in outcomes))
    if is_whole:
        pieces += _without_images(structure, hosted - embedded)
    return pieces, tuple(image for cid, image in images.items() if cid in hosted)


def _without_images(structure: Structure, cids: AbstractSet[str]) -> list[_Piece]:
    """Return the removal of the first image with each of these Content-IDs."""
    first = {image.cid: image for image in reversed(structure.images)}
    return [_Piece(image.start, image.stop, []) for cid, image in first.items() if cid in cids]


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


def _replaced(part: HtmlPart, encoded: Encoded) -> list[_Piece]:
    """Return the new body, and the header field if its encoding is another."""
    pieces = [_Piece(part.body, part.end, encoded.chunks)]
    if encoded.encoding is not None:
        field_ = part.encoding_field
        start, end = (field_.start, field_.end) if field_ else (part.fields_end, part.fields_end)
        line = f"Content-Transfer-Encoding: {encoded.encoding}\r\n".encode("ascii")
        pieces.append(_Piece(start, end, [line]))
    return pieces


def _with_encoding(header: Header, raw: bytes, block: Block, pieces: list[_Piece]) -> Header:
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


def _assembled(raw: bytes, block: Block, pieces: list[_Piece]) -> list[Chunk]:
    """Return the body with its replacements; neighbouring octets joined."""
    chunks: list[Chunk] = []
    waiting: list[bytes] = []
    done = block.body
    for piece in sorted(pieces, key=lambda piece: (piece.start, piece.end)):
        waiting.append(raw[done : piece.start])
        for chunk in piece.chunks:
            if isinstance(chunk, Hole):
                chunks += (b"".join(waiting), chunk)
                waiting = []
            else:
                waiting.append(chunk)
        done = piece.end
    waiting.append(raw[done:])
    chunks.append(b"".join(waiting))
    return chunks
