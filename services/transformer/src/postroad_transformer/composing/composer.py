"""What differs per recipient: tokens put into the holes of a template, and signatures over it."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from postroad_common.tokens import LinkKind, LinkSigner
from postroad_transformer.composing.template import Template
from postroad_transformer.signing.body import BodyHash
from postroad_transformer.signing.keys import SigningKey
from postroad_transformer.signing.signature import HeaderHash, Signature


class ComposedContent(NamedTuple):
    """A message for one recipient, or for all.

    `head` is its header block with the blank line, `fills` what goes into the template's holes.
    """

    head: bytes
    fills: tuple[bytes, ...]


class Composer:
    """Makes the contents of one template. `time` is that of the signatures, in Unix seconds."""

    def __init__(
        self, template: Template, links: LinkSigner, keys: Sequence[SigningKey], time: float
    ) -> None:
        self.template = template
        self._links = links
        self._keys = keys
        self._time = time
        self._holes = template.holes
        self._static = [chunk for chunk in template.body if isinstance(chunk, bytes)]
        self._fields = template.header.static
        self._body_hash = BodyHash(template.body) if keys else None
        self._signatures = self._prepare(self._fields) if self._fields is not None else []
        self._offsets = tuple(accumulate(map(len, self._static[:-1])))
        self._shared: ComposedContent | None = None

    @property
    def cost(self) -> float:
        """About how many seconds the message for one recipient takes."""
        size = self.template.body_size
        return 5e-5 + len(self._holes) * 1.2e-5 + size * 8e-9 + len(self._keys) * 8e-4

    def content(self, message_id: str) -> ComposedContent:
        """Return the content for the recipient whose message id that is.

        Raises:
            ValueError: `message_id` is no identifier.
        """
        if self._shared is not None:
            return self._shared
        fields, signatures = self._fields, self._signatures
        fills: tuple[bytes, ...] = ()
        if self._holes or fields is None:
            links = self._links.for_message(message_id)
            fills = tuple(links.heads(self._holes))
            if fields is None:
                one = links.head(LinkKind.UNSUBSCRIBE, 0, b"").encode()
                fields = self.template.header.filled(one)
                signatures = self._prepare(fields)
        signed: list[bytes] = []
        if self._body_hash is not None:
            digest = self._body_hash.digest(fills)
            signed = [signature.field(digest) for signature in signatures]
        content = ComposedContent(b"".join((*signed, *fields, b"\r\n")), fills)
        if not self.template.is_personal:
            self._shared = content
        return content

    def body(self, content: ComposedContent) -> bytes:
        """Return the filled body of `content`."""
        if not content.fills:
            return self._static[0] if len(self._static) == 1 else b"".join(self._static)
        pieces = [self._static[0]]
        for fill, chunk in zip(content.fills, self._static[1:], strict=True):
            pieces += (fill, chunk)
        return b"".join(pieces)

    def skeleton(self) -> bytes:
        """Return the body without what goes into its holes."""
        return b"".join(self._static)

    @property
    def skeleton_pieces(self) -> Sequence[bytes]:
        """The same, in pieces."""
        return self._static

    def hole_offsets(self) -> tuple[int, ...]:
        """Return where in the skeleton its holes are, ascending."""
        return self._offsets

    def patches(self, content: ComposedContent) -> list[tuple[int, bytes]]:
        """Where the fills of `content` go into the skeleton: ascending offsets."""
        return list(zip(self._offsets, content.fills, strict=True)) if content.fills else []

    def _prepare(self, fields: Sequence[bytes]) -> list[Signature]:
        if not self._keys:
            return []
        header = HeaderHash(fields)
        return [Signature(key, header, self._time) for key in self._keys]
