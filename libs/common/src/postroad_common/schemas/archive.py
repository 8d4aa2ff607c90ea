"""The archive on its way and at rest: what was submitted and what was sent, many mails together.

Written by the transformer, which has both in hand; stored by feedback as it comes; read by
ingress-http. A batch is a frame whose body is compressed as one: mails that resemble each other
cost little more than one. Unpacked it is the entries one after the other, each a frame again:
`ArchivedMail`, then these octets:

1. the message as submitted, unless `submitted_body` refers to it;
2. the body of the message as sent without what differs per recipient, unless `sent_body` refers to
   it or it is the body as submitted (`body_at`);
3. for each of the `copies` its header block, and what goes into the body at `holes`.

An entry stands for itself. A submission with very many recipients has several.
"""

from collections.abc import Iterator, Sequence

from postroad_common.schemas.framing import FrameError, decode
from postroad_common.schemas.model import Schema
from postroad_common.schemas.submission import BodyReference


class SentCopy(Schema):
    """What the recipients with these message ids were sent: octets of its head and its fills."""

    messages: tuple[str, ...]
    head: int
    fills: int = 0


class ArchivedMail(Schema):
    """See the module. `expires` is Unix seconds, sizes and offsets are in octets.

    `body_at` is where the body as sent stands in the message as submitted, -1 where it has changed;
    `skip` where it begins in `sent_body`. `holes` count from the beginning of the body as sent. The
    fields after `copies` are settings of the submission, with which it is made again.
    """

    v: int = 1
    submission: str
    account: str
    expires: float
    submitted: int = 0
    submitted_body: BodyReference | None = None
    body_at: int = -1
    skeleton: int = 0
    sent_body: BodyReference | None = None
    skip: int = 0
    holes: tuple[int, ...] = ()
    copies: tuple[SentCopy, ...] = ()
    smtputf8: bool = False
    requiretls: bool = False
    images_hosted: bool = False
    text_from_html: bool = False
    list_unsubscribe: bool | None = None


class ArchiveEntry(Schema):
    """Where an entry is found: its submission, its account, and its size when unpacked."""

    submission: str
    account: str
    size: int


class ArchiveBatch(Schema):
    """See the module. `expires` is that of the entry that is kept longest."""

    v: int = 1
    id: str
    expires: float
    entries: tuple[ArchiveEntry, ...]


def entries_in(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Yield the entries of an unpacked batch."""
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size


class OpenedMail:
    """An entry of the archive, unpacked."""

    def __init__(self, entry: bytes) -> None:
        """Read the frame.

        Raises:
            FrameError: it is none, or octets are missing.
        """
        self.mail, self._octets = decode(ArchivedMail, entry)
        mail = self.mail
        needed = mail.submitted + mail.skeleton + sum(one.head + one.fills for one in mail.copies)
        if needed != len(self._octets):
            raise FrameError("not an ArchivedMail: its octets are not as many as it says")

    @property
    def submitted(self) -> bytes | BodyReference:
        """The message as submitted, or where it is stored."""
        if self.mail.submitted_body is not None:
            return self.mail.submitted_body
        return bytes(self._octets[: self.mail.submitted])

    @property
    def sent_body(self) -> bytes | BodyReference:
        """The body as sent with holes in it, or where it is stored, to be read from `skip` on."""
        mail = self.mail
        if mail.sent_body is not None:
            return mail.sent_body
        if mail.body_at >= 0:
            return bytes(self._octets[mail.body_at : mail.submitted])
        return bytes(self._octets[mail.submitted : mail.submitted + mail.skeleton])

    def has(self, message_id: str) -> bool:
        """Tell whether the copy that was sent under this message id is here."""
        return any(message_id in one.messages for one in self.mail.copies)

    def sent(self, message_id: str, body: bytes) -> bytes | None:
        """Return the message as sent under this id; `body` is `sent_body`, fetched.

        Of several copies the last is returned: a submission that was transformed again after a
        crash was sent as it became then.
        """
        at = len(self._octets)
        for one in reversed(self.mail.copies):
            at -= one.head + one.fills
            if message_id in one.messages:
                head = self._octets[at : at + one.head]
                fills = self._octets[at + one.head : at + one.head + one.fills]
                return b"".join((head, *self._filled(memoryview(body), fills)))
        return None

    def _filled(self, body: memoryview, fills: memoryview) -> Iterator[memoryview]:
        """Yield the body in pieces, with the fills in its holes; all fills are of one length."""
        start, holes = self.mail.skip, self.mail.holes
        length = len(fills) // len(holes) if holes else 0
        done = start
        for number, hole in enumerate(holes):
            yield body[done : start + hole]
            yield fills[number * length : (number + 1) * length]
            done = start + hole
        yield body[done:]
