"""The simulator: mail to its domain ends as the name of the address says, and no server is asked.

What it makes up is what a receiving server would say, or send back later, or a reader do; from
there on everything goes the way of real mail: events, notifications, returned mail. It uses no
lane, so that it slows nobody's mail, and is not counted among attempts, from which operators see
how delivery goes.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from postroad_common.broker import Publication, topology
from postroad_common.mail.identifiers import derived_id
from postroad_common.mail.reply import Reply
from postroad_common.schemas.events import Event
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.schemas.returns import Return
from postroad_common.tasks import BackgroundTasks
from postroad_sender import metrics
from postroad_sender.delivery.body import Pieces
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.outcome import Outcome, Server, Status
from postroad_sender.delivery.simulatedreturns import write_bounce, write_complaint
from postroad_sender.delivery.simulatedvisits import visits_of
from postroad_sender.throttle.signals import Signal
from postroad_smtp.client.stage import Stage

DEFERRED_SECONDS = 5.0
RETURNED_SECONDS = 0.1
"""After the delivery, so that a timeline has what comes back below it."""
VISITORS = ("opened", "clicked")
ADDRESSES = ("delivered", "failed", "bounced", "complained", "deferred", *VISITORS)
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
    """One per process; without a `domain` it concerns no mail. `clock` gives Unix seconds.

    `read` returns the octets of a message, or None after it has ended the job.
    """

    def __init__(
        self,
        domain: str,
        disposition: Disposition,
        read: Callable[[Job], Awaitable[Pieces | None]],
        clock: Callable[[], float],
    ) -> None:
        self._domain = domain
        self._disposition = disposition
        self._read = read
        self._clock = clock
        self._tasks = BackgroundTasks("simulated visits")

    def concerns(self, job: Job) -> bool:
        """Whether `job` is for the simulator."""
        return job.domain == self._domain

    def deliver(self, job: Job) -> None:
        """End an attempt for all recipients of `job`, which have this domain. Returns at once."""
        if job.message.kind == "mail" and any(map(_visits, job.message.recipients)):
            self._tasks.spawn(self._deliver_and_visit(job))
        else:
            self._deliver(job, b"")

    async def finished(self) -> None:
        """Wait until every job that was given to `deliver` has its outcome."""
        await self._tasks.join()

    async def _deliver_and_visit(self, job: Job) -> None:
        pieces = await self._read(job)
        if pieces is not None:
            self._deliver(job, b"".join(pieces))

    def _deliver(self, job: Job, raw: bytes) -> None:
        """End the attempt; `raw` is the message, where somebody reads it."""
        now = self._clock()
        header = bytes(job.body).partition(b"\r\n\r\n")[0]
        outcomes: list[Outcome] = []
        returns: list[Publication] = []
        visits: list[Event] = []
        for recipient in job.message.recipients:
            attempt = self._attempt(job.message, recipient, header, now)
            outcomes.append(attempt.outcome)
            later = now + RETURNED_SECONDS
            if attempt.returned:
                frame = _return_frame(job.message, recipient, attempt.returned, later)
                returns.append(Publication("", topology.RETURNS.name, frame))
            if raw and _visits(recipient):
                clicks = local_name(recipient.address) == "clicked"
                visits += visits_of(raw, recipient.id, job.account, later, clicks=clicks)
        self._disposition.simulate(job, outcomes, returns, visits)

    def _attempt(
        self, message: OutboundMessage, recipient: OutboundRecipient, header: bytes, now: float
    ) -> SimulatedAttempt:
        name = local_name(recipient.address)
        metrics.SIMULATED.labels(name if name in ADDRESSES else "other").inc()
        if message.kind != "mail":  # what is written about mail only arrives
            return self._ends(Status.DELIVERED, Stage.DOT, _TAKEN)
        match name:
            case "delivered" | "opened" | "clicked":
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


def _visits(recipient: OutboundRecipient) -> bool:
    return local_name(recipient.address) in VISITORS


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
