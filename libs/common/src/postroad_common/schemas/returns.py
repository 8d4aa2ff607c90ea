"""What comes back: mail to bounce addresses, and failures the sender met itself.

Both are read by the bounce-processor. The frame's body is the returned MIME message, or what a
DSN will quote of the failed one: its header block, or all of it where `ret` asks for it and it
travels inline.
"""

from typing import Literal

from postroad_common.schemas.model import Schema
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import BodyReference, Client


class Return(Schema):
    """A message taken by the MX listener. `recipient` is the bounce address, verified.

    `message_id` is empty for mail to an address for complaints.
    """

    v: int = 1
    id: str
    received: float
    mail_from: str
    recipient: str
    message_id: str
    client: Client | None = None
    size: int
    body: BodyReference | None = None
    shared: bool = False
    """Whether other returns have the same stored `body`."""
    feedback: Literal["open", "secret"] | None = None
    """It came to an address for complaints, which anybody may guess or which is a secret."""
    account: str = ""
    """Whose secret address that is; empty for the deployment's."""


SUPPRESSION = "suppression"
"""The stage of a failure that was none of delivery: the recipient is on the suppression list."""
Outcome = Literal["failed", "expired", "delayed", "delivered", "relayed", "expanded"]


class DeliveryFailure(Schema):
    """How an attempt ended for `outbound.recipients`, which are only those concerned.

    `delivered` and `relayed` are here because a sender can ask to be told of success, too;
    `relayed` means that the next host does not speak DSN. `expanded` (sent on to several others) is
    for whoever knows aliases or lists: no service of Postroad does, so none reports it.
    `reply` is the server's, or ours.
    """

    v: int = 1
    id: str
    outbound: OutboundMessage
    outcome: Outcome
    reply: str
    code: int | None = None
    enhanced: str = ""
    host: str = ""
    stage: str = ""
    time: float
    attempts: int = 1
    next_attempt: float | None = None
