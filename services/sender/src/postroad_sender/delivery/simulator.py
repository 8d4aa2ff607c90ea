"""The simulator: mail to its domain ends as the name of the address says, and no server is asked.

What it makes up is what a receiving server would say, or send back later; from there on everything
goes the way of real mail: events, notifications, returned mail. It uses no lane, so that it slows
nobody's mail, and is not counted among attempts, from which operators see how delivery goes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from postroad_common.broker import Publication, topology
from postroad_common.mail.identifiers import derived_id
from postroad_common.mail.reply import Reply
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.schemas.returns import Return
from postroad_sender import metrics
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.outcome import Outcome, Server, Status
from postroad_sender.delivery.simulatedreturns import write_bounce, write_complaint
from postroad_sender.throttle.signals import Signal
from postroad_smtp.client.stage import Stage

DEFERRED_SECONDS = 5.0
RETURNED_SECONDS = 0.1
"""After the delivery, so that a timeline has what comes back below it."""
ADDRESSES = ("delivered", "failed", "bounced", "complained", "deferred")
_TAKEN = Reply(250, "2.0.0", "simulated: taken")
_UNKNOWN = Reply(550, "5.1.1", "simulated: no such user")
_LATER = Reply(451, "4.7.1", "simulated: greylisted, try again in 5 seconds")
_NO_ADDRESS = Reply(
    550, "5.1.1", f"the simulator has {', '.join(f'{name}@' for name in ADDRESSES)}"
)


@dataclass(frozen=True, slots=True)
class SimulatedAttempt:
    """What becomes of one recipient, and the mail that comes back of it, if any does."""

    outcome: Outcome
    returned: bytes = b""


class Simulator:
    """One per process; without a `domain` it concerns no mail. `clock` gives Unix seconds."""

    def __init__(self, domain: str, disposition: Disposition, clock: Callable[[], float]) -> None:
        self._domain = domain
        self._disposition = disposition
        self._clock = clock

    def concerns(self, job: Job) -> bool:
        """Whether `job` is for the simulator."""
        return job.domain == self._domain

    def deliver(self, job: Job) -> None:
        """End an attempt for all recipients of `job`, which have this domain. Returns at once."""
        now = self._clock()
        header = bytes(job.body).partition(b"\r\n\r\n")[0]
        outcomes: list[Outcome] = []
        returns: list[Publication] = []
        for recipient in job.message.recipients:
            attempt = self._attempt(job.message, recipient, header, now)
            outcomes.append(attempt.outcome)
            if attempt.returned:
                received = now + RETURNED_SECONDS
                frame = _return_frame(job.message, recipient, attempt.returned, received)
                returns.append(Publication("", topology.RETURNS.name, frame))
        self._disposition.simulate(job, outcomes, returns)

    def _attempt(
        self, message: OutboundMessage, recipient: OutboundRecipient, header: bytes, now: float
    ) -> SimulatedAttempt:
        name = local_name(recipient.address)
        metrics.SIMULATED.labels(name if name in ADDRESSES else "other").inc()
        if message.kind != "mail":  # what is written about mail only arrives
            return self._ends(Status.DELIVERED, Stage.DOT, _TAKEN)
        match name:
            case "delivered":
                return self._ends(Status.DELIVERED, Stage.DOT, _TAKEN)
            case "bounced" if message.bouncetracking:
                bounce = write_bounce(self._domain, message, recipient, header, now)
                return self._ends(Status.DELIVERED, Stage.DOT, _TAKEN, bounce)
            case "failed" | "bounced":
                return self._ends(Status.FAILED, Stage.RCPT, _UNKNOWN)
            case "complained":
                complaint = write_complaint(self._domain, message, recipient, header, now)
                return self._ends(Status.DELIVERED, Stage.DOT, _TAKEN, complaint)
            case "deferred" if not message.attempt:
                return self._ends(Status.DEFERRED, Stage.RCPT, _LATER)
            case "deferred":
                return self._ends(Status.DELIVERED, Stage.DOT, _TAKEN)
            case _:
                return self._ends(Status.FAILED, Stage.RCPT, _NO_ADDRESS)

    def _ends(
        self, status: Status, stage: Stage, reply: Reply, returned: bytes = b""
    ) -> SimulatedAttempt:
        deferred = status is Status.DEFERRED
        outcome = Outcome(
            status,
            stage,
            reply,
            signal=Signal.GREYLIST if deferred else Signal.NONE,
            delay=DEFERRED_SECONDS if deferred else None,
            said=f"# the simulator; no server was asked\nS: {reply}",
            server=Server(self._domain, ""),
            simulated=True,
        )
        return SimulatedAttempt(outcome, returned)


def local_name(address: str) -> str:
    """Return what the simulator goes by: the local part up to a `+`, in lower case."""
    return address.rpartition("@")[0].partition("+")[0].lower()


def _return_frame(
    message: OutboundMessage, recipient: OutboundRecipient, raw: bytes, received: float
) -> bytes:
    """Return what the MX listener would have made of the mail that came back."""
    returned = Return(
        id=derived_id(message.received, "simulated", recipient.id),
        received=received,
        mail_from="",
        recipient=message.mail_from,
        message_id=recipient.id,
        size=len(raw),
    )
    return encode(returned, raw)
