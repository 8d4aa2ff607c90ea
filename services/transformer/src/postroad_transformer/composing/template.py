"""The expensive work, done once per submission: from the message as handed in to a template.

A template holds everything that is the same for all recipients, with holes for what is not.
Whatever goes wrong with the content leaves that content as it was, with the reason among the
facts; a message is never refused here.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from postroad_common.schemas.submission import Submission
from postroad_common.store.images import HostedImage
from postroad_common.tokens import LinkSigner
from postroad_transformer.composing.alternative import with_text
from postroad_transformer.composing.headers import Header, build_header
from postroad_transformer.composing.parts import rewrite_parts
from postroad_transformer.composing.pieces import Piece, assemble, with_encoding
from postroad_transformer.composing.rewrite import Rewriter
from postroad_transformer.composing.rules import Rules
from postroad_transformer.reading.decoding import Undecodable
from postroad_transformer.reading.fields import Block, read_block
from postroad_transformer.reading.mending import mend_header
from postroad_transformer.reading.mime import Malformed
from postroad_transformer.reading.sender import sender_domain, unsubscribe_urls
from postroad_transformer.segments import Chunk, Hole
from postroad_transformer.tracking.links import LinkRules

_NEWLINE = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Template:
    """A message with holes. `body` starts behind the header's blank line: octets, holes in turn.

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

    holes: tuple[Hole, ...] = field(init=False)
    """The holes of the body, in order."""
    body_size: int = field(init=False)
    """The size of the filled body, in octets."""

    def __post_init__(self) -> None:
        holes = self.body[1::2]
        octets = sum(map(len, self.body[0::2]))
        object.__setattr__(self, "holes", holes)
        object.__setattr__(self, "body_size", octets + len(holes) * LinkSigner.HEAD_LENGTH)

    @property
    def is_personal(self) -> bool:
        """Whether the content differs between recipients."""
        return bool(self.holes) or self.header.static is None


def make_template(
    raw: bytes, submission: Submission, rules: Rules, *, light: bool = False
) -> Template:
    """Make the template of the message `raw`, submitted as `submission`.

    Raises:
        HeavyError: with `light`, it is more than the event loop may do.
    """
    facts: dict[str, Any] = {}
    message, block = read_message(raw, facts)
    if submission.text_from_html:
        message, block = _with_text(message, block, submission, facts, light=light)
    header = build_header(message, block, submission, rules.for_header(submission))
    features = submission.features
    unsubscribe = unsubscribe_urls(message, block) if features.clicktracking else ()
    link_rules = LinkRules(rules.base_url.rstrip("/"), features.preventscam, frozenset(unsubscribe))
    rewriter = Rewriter(features, link_rules, rules.engine, light=light)
    pieces: list[Piece] = []
    images: tuple[HostedImage, ...] = ()
    if not rewriter.is_idle or submission.images_hosted:
        try:
            pieces, images = rewrite_parts(
                message, block, rewriter, facts, hosts=submission.images_hosted
            )
        except Malformed as malformed:
            facts["mime"] = [f"left as it is: {malformed}"]
    header = with_encoding(header, message, block, pieces)
    if header.added:
        facts["added"] = list(header.added)
    if header.removed:
        facts["removed"] = list(header.removed)
    body = assemble(message, block, [piece for piece in pieces if piece.start >= block.body])
    unchanged = message is raw and not pieces
    return Template(
        header,
        tuple(body),
        block.body if unchanged else -1,
        sender_domain(message, block),
        facts,
        images,
    )


def read_message(raw: bytes, facts: dict[str, Any]) -> tuple[bytes, Block]:
    """Return the message with CRLF line ends, and its header."""
    count = raw.count(b"\n")
    if not count == raw.count(b"\r") == raw.count(b"\r\n"):
        raw = _NEWLINE.sub(b"\r\n", raw)
        facts["line_ends"] = "made CRLF"
    try:
        block = read_block(raw, 0, len(raw))
        if not block.separated:
            mended = mend_header(raw)
            if mended is not raw:
                facts["header"] = "mended: a line that was no field"
                raw, block = mended, read_block(mended, 0, len(mended))
    except ValueError as error:  # no mail has that many fields: all of it is body
        facts["mime"] = [f"left as it is: {error}"]
        return raw, Block((), 0, separated=False)
    return raw, block


def _with_text(
    raw: bytes, block: Block, submission: Submission, facts: dict[str, Any], *, light: bool
) -> tuple[bytes, Block]:
    """Return the message with a plain text made from its HTML, if it has none."""
    try:
        changed = with_text(raw, block, f"=_text_{submission.id}", light=light)
    except (Malformed, Undecodable) as error:
        facts["text"] = f"not made: {error}"
        return raw, block
    if changed is None:
        return raw, block
    facts["text"] = "made from HTML"
    return changed, read_block(changed, 0, len(changed))
