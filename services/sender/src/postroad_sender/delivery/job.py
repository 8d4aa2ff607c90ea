"""A job: one outbound message in this process, from its delivery by the broker to its end."""

import time
from dataclasses import dataclass, field

from postroad_common.broker import Consumer, Delivery, Publication
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.events import Event
from postroad_common.schemas.outbound import OutboundMessage
from postroad_sender.tls.requirement import NOTHING, TlsRequirement
from postroad_smtp.client.commands import Envelope, Rcpt

MOST_OCTETS = 32 * 1024 * 1024
"""Of messages of one shard in this process, before slow lanes have to give theirs back."""


@dataclass(slots=True, eq=False)
class Shard:
    """How much of one shard's queue is in this process, and whether this process owns it.

    A queue with the backlog of a lane is treated like one; its `home` is the lane's shard. The
    `consumer` brings its messages. `taken` counts what the broker has brought; what it `brought`
    last could be delivered since then (Unix seconds). `octets` are those of the messages held.
    """

    name: str
    capacity: int
    consumer: Consumer | None = None
    held: int = 0
    octets: int = 0
    taken: int = 0
    brought: float = 0.0
    leaving: bool = False
    home: "Shard | None" = None

    @property
    def load(self) -> int:
        """How many messages are held, or as how many their octets count if those are many."""
        return max(self.held, self.octets * self.capacity // MOST_OCTETS)

    @property
    def is_active(self) -> bool:
        """Whether this process, and so no other, sends what belongs to the shard."""
        return self.consumer is not None and self.consumer.is_active and not self.leaving

    def is_settling(self, now: float, seconds: float) -> bool:
        """Whether it may yet turn out to be active: its consumer attached in the last `seconds`.

        Or it will attach in a moment: at a start the shards come one after the other.
        """
        consumer = self.consumer
        if self.leaving:
            return False
        if consumer is None or not consumer.is_attached:
            return True
        return now - consumer.attached_at < seconds


@dataclass(slots=True, eq=False)
class Job:
    """See the module.

    `deliveries` has more than one entry when the broker delivered the same message again while it
    was under way; all end together. `body` is what the frame carries. `returned` counts how often
    it went back to its lane unharmed; `arrived` is when it came here, `since` when it entered the
    lane (loop times).
    It `is_at_home` if the broker brought it from the shard of its site. `requirement` is what it
    needs of TLS there, `provider` who runs the site, where that is known. `untold` are the events,
    `unreported` the reports of those of its recipients that had the message before the broker
    brought it again.
    """

    message: OutboundMessage
    body: memoryview
    domain: str
    shard: Shard
    deliveries: list[Delivery] = field(default_factory=list)
    account: str = ""
    since: float = 0.0
    returned: int = 0
    arrived: float = field(default_factory=time.monotonic)
    is_at_home: bool = False
    requirement: TlsRequirement = NOTHING
    provider: str = ""
    untold: list[Event] = field(default_factory=list)
    unreported: list[Publication] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.account = self.message.account

    @property
    def key(self) -> str:
        """The same for each delivery of the same copy of the message, and only for those."""
        return f"{self.message.id}.{self.message.hop}"

    @property
    def is_ours(self) -> bool:
        """Whether the broker still waits for us to end it."""
        return any(not delivery.stale for delivery in self.deliveries)

    def envelope(self) -> Envelope:
        """Return the envelope for the wire."""
        message = self.message
        international = message.smtputf8 and self._is_international()
        return Envelope(
            sender=message.mail_from,
            recipients=tuple(
                Rcpt(recipient.address, recipient.notify, recipient.orcpt)
                for recipient in message.recipients
            ),
            size=message.size,
            ret=message.ret,
            envid=message.envid,
            smtputf8=international,
            eightbit=message.eightbit,
            requiretls=message.requiretls,
        )

    def _is_international(self) -> bool:
        """Whether SMTPUTF8 is really needed: many ask for it and send plain ASCII."""
        message = self.message
        if not message.mail_from.isascii():
            return True
        if any(not recipient.address.isascii() for recipient in message.recipients):
            return True
        return not bytes(self.body).partition(b"\r\n\r\n")[0].isascii()

    def nack(self, reason: RequeueReason) -> None:
        """Leave it to the broker, not begun: it brings it to the next owner."""
        for delivery in self.deliveries:
            delivery.leave(reason)

    def acknowledge(self) -> None:
        """End it with the broker. What follows from it must be safe elsewhere by now."""
        for delivery in self.deliveries:
            if not delivery.ended:
                delivery.ack()
