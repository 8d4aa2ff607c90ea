"""A message on its way to a receiving server.

Written by the transformer (mail) and the bounce-processor (DSNs, forwards), read by the sender,
which also writes it again, with another `attempt`, for a later try.

The frame's body is the complete message, unless `body` refers to a stored one: then the frame
carries this recipient's header block, with its blank line, and the rest is the stored octets from
`skip` on, with `patches` put in.
"""

from typing import Literal

from postroad_common.schemas.model import Schema
from postroad_common.schemas.submission import BodyReference, NotifyWish, RetWish


class Patch(Schema):
    """Octets to insert at offset `at` of the stored body; offsets ascend and count from 0."""

    at: int
    data: bytes


class OutboundRecipient(Schema):
    """One recipient; `id` is its message id."""

    id: str
    address: str
    notify: tuple[NotifyWish, ...] = ()
    orcpt: str | None = None


class OutboundMessage(Schema):
    """See the module. Times are Unix seconds.

    `send_at` is when a message for later was to be sent (None: at once). `envelope` is the sender
    as handed in, `mail_from` the one on the wire (a bounce address, or the same). `attempt` counts
    from 0; `hop` counts each time the sender put the message back, with or without an attempt, so
    that no two copies are taken for one; `reason` says why it did last.
    """

    v: int = 1
    id: str
    submission: str
    account: str
    kind: Literal["mail", "dsn", "forward"] = "mail"
    envelope: str
    mail_from: str
    recipients: tuple[OutboundRecipient, ...]
    ret: RetWish | None = None
    envid: str | None = None
    smtputf8: bool = False
    eightbit: bool = False
    requiretls: bool = False
    bouncetracking: bool = False
    forward_bounces: bool = True
    tags: tuple[str, ...] = ()
    subject: str = ""
    received: float
    send_at: float | None = None
    expires: float
    attempt: int = 0
    hop: int = 0
    not_before: float | None = None
    reason: str | None = None
    first_attempt: float | None = None
    delayed_sent: bool = False
    size: int
    body: BodyReference | None = None
    skip: int = 0
    patches: tuple[Patch, ...] = ()

    @property
    def began(self) -> float:
        """From when it could be delivered: what it took is counted from then (Unix seconds)."""
        return max(self.received, self.send_at or 0.0)
