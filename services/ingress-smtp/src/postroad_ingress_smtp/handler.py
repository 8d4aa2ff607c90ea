"""What happens at the dot, and who may get that far: one reception per kind of mail.

A message is made into what travels (`submission`, `returns`), a large body is stored, the frame is
published, and only its confirm lets the `250` out. What is said on the wire is in `protocol`.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from postroad_common.broker import topology
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.broker.publisher import Publisher
from postroad_common.errors import BrokerAway, StoreAway, Transient, Unroutable
from postroad_common.mail.address import Mailbox
from postroad_common.mail.control import ControlError, read_controls
from postroad_common.mail.parameters import RcptParameters
from postroad_common.mail.reply import Reply
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.events import accepted
from postroad_common.schemas.framing import encode
from postroad_common.schemas.submission import BodyReference, Submission
from postroad_common.store.bodies import Bodies
from postroad_common.store.credentials import Credential
from postroad_ingress_smtp import metrics, policy
from postroad_ingress_smtp.admission import Rates
from postroad_ingress_smtp.content import ContentRules
from postroad_ingress_smtp.envelope import Addressee, Envelope
from postroad_ingress_smtp.logins import Logins
from postroad_ingress_smtp.returns import make_returns
from postroad_ingress_smtp.session import Session
from postroad_ingress_smtp.submission import make_submission

_log = structlog.get_logger(__name__)

ANSWER_WITHIN = 4.5
"""Seconds from the dot to the reply, whatever is away; the contract says 5."""
_LEAST_PUBLISH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Handover:
    """Where accepted messages go, and which of them go by way of the store."""

    publisher: Publisher
    bodies: Bodies
    inline_body_max: int
    expire_seconds: float
    """Seconds after which a message is given up, and its stored body may go."""
    body_keep_seconds: float
    """Seconds for which a stored body is kept beyond that, for DSNs and the archive."""

    def ready(self) -> Reply | None:
        """The refusal to read a message while the broker is away."""
        return None if self.publisher.is_up else policy.UNREADY

    async def store(self, body: bytes, keep: float) -> BodyReference | None:
        """The reference to a body that is too large for the broker, kept until `keep` (Unix time).

        Raises:
            StoreAway, BrokerAway: it is not stored, or would be in vain.
        """
        if len(body) <= self.inline_body_max:
            return None
        if not self.publisher.is_up:
            raise BrokerAway("no connection to RabbitMQ")
        return await self.bodies.put(body, keep)


class SubmissionReception:
    """The reception of the submission listeners."""

    name = "submission"
    needs_login = True

    def __init__(
        self,
        handover: Handover,
        *,
        events: EventWriter,
        logins: Logins,
        message_rates: Rates,
        recipient_rates: Rates,
        rules: ContentRules,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handover = handover
        self._events = events
        self._logins = logins
        self._message_rates = message_rates
        self._recipient_rates = recipient_rates
        self._clock = clock
        self.rules = rules

    async def begin(self, session: Session, sender: Mailbox | None) -> Reply | None:
        """See `Reception`. The login is looked at anew: it may have been disabled or changed."""
        credential = session.credential
        if credential is None:
            return policy.NEED_LOGIN
        try:
            now = await self._logins.current(credential.username)
        except (StoreAway, TimeoutError):
            now = credential  # this session was let in; it goes on while the database is away
        if now is not credential:
            if now is None or now.disabled or now.password_hash != credential.password_hash:
                return policy.LOGIN_GONE
            session.credential = credential = now
            if policy.check_network(credential, session.address) is not None:
                return policy.LOGIN_GONE
        refusal = policy.check_sender(credential, sender)
        if refusal is not None:
            return refusal
        wait = self._message_rates.take(credential.username, self._clock())
        return policy.too_fast("messages", wait) if wait else None

    def recipient(
        self, session: Session, mailbox: Mailbox, parameters: RcptParameters
    ) -> Addressee | Reply:
        """See `Reception`."""
        wait = self._recipient_rates.take(_credential(session).username, self._clock())
        if wait:
            return policy.too_fast("recipients", wait)
        return Addressee(mailbox, parameters)

    def ready(self) -> Reply | None:
        """See `Reception`: not while the broker is away."""
        return self._handover.ready()

    async def accept(
        self, session: Session, envelope: Envelope, raw: bytes, *, eightbit: bool, subject: str
    ) -> Reply:
        """See `Reception`."""
        started = self._clock()
        try:
            controls = read_controls(raw)
        except ControlError as error:
            return policy.bad_control(error.header, str(error).partition(": ")[2])
        submission = make_submission(
            _credential(session),
            envelope,
            controls,
            client=session.client(smtputf8=envelope.parameters.smtputf8),
            eightbit=eightbit,
            subject=subject,
            received=time.time(),
            expire_seconds=self._handover.expire_seconds,
        )
        try:
            await self._hand_over(submission, controls.stripped, started)
        except (Transient, Unroutable) as error:
            _log.warning("message not taken", submission=submission.id, reason=str(error))
            return policy.AWAY
        self._tell(submission)
        _log.debug("message taken", submission=submission.id, size=submission.size)
        return policy.queued([(each.id, each.address) for each in submission.recipients])

    async def _hand_over(self, submission: Submission, body: bytes, started: float) -> None:
        handover = self._handover
        reference = await handover.store(body, submission.expires + handover.body_keep_seconds)
        if reference is None:
            frame = encode(submission, body)
        else:
            frame = encode(submission.model_copy(update={"body": reference}))
        left = ANSWER_WITHIN - (self._clock() - started)
        await handover.publisher.publish(
            "", topology.ACCEPTED.name, frame, timeout=max(_LEAST_PUBLISH_SECONDS, left)
        )
        metrics.PUBLISH_SECONDS.observe(self._clock() - started)

    def _tell(self, submission: Submission) -> None:
        """Write the events, without waiting: the transformer tells the same facts once more."""
        try:
            for recipient in submission.recipients:
                self._events.add(accepted(submission, recipient))
        except Transient as error:
            _log.warning("event not written", submission=submission.id, reason=str(error))


class ReturnReception:
    """The reception of the MX listener: only bounce addresses that Postroad signed."""

    name = "mx"
    needs_login = False

    def __init__(
        self,
        handover: Handover,
        addresses: BounceAddresses,
        rules: ContentRules,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handover = handover
        self._addresses = addresses
        self._clock = clock
        self.rules = rules

    async def begin(self, session: Session, sender: Mailbox | None) -> Reply | None:  # noqa: ARG002
        """See `Reception`: bounces have the null sender, replies of people have theirs."""
        return None

    def recipient(
        self,
        session: Session,  # noqa: ARG002 - who brings it does not matter
        mailbox: Mailbox,
        parameters: RcptParameters,
    ) -> Addressee | Reply:
        """See `Reception`."""
        result = self._addresses.verify(mailbox.text, time.time())
        if result.message_id is None:
            return policy.EXPIRED if result.refused == "expired" else policy.NOT_OURS
        return Addressee(mailbox, parameters, result.message_id)

    def ready(self) -> Reply | None:
        """See `Reception`: not while the broker is away."""
        return self._handover.ready()

    async def accept(
        self,
        session: Session,
        envelope: Envelope,
        raw: bytes,
        *,
        eightbit: bool,  # noqa: ARG002 - the bounce-processor parses the message itself
        subject: str,  # noqa: ARG002 - as above
    ) -> Reply:
        """See `Reception`. Each recipient's copy becomes a return of its own."""
        started = self._clock()
        handover = self._handover
        received = time.time()
        client = session.client(smtputf8=envelope.parameters.smtputf8)
        returns = make_returns(envelope, client=client, received=received, size=len(raw))
        try:
            body = await handover.store(raw, received + handover.body_keep_seconds)
            if body is None:
                frames = [encode(each, raw) for each in returns]
            else:
                frames = [encode(each.model_copy(update={"body": body})) for each in returns]
            left = ANSWER_WITHIN - (self._clock() - started)
            async with asyncio.timeout(max(_LEAST_PUBLISH_SECONDS, left)):
                await handover.publisher.publish_many(
                    [("", topology.RETURNS.name, frame) for frame in frames]
                )
        except (Transient, Unroutable, TimeoutError) as error:
            _log.warning("return not taken", ids=[each.id for each in returns], reason=str(error))
            return policy.AWAY
        metrics.PUBLISH_SECONDS.observe(self._clock() - started)
        _log.debug("return taken", ids=[each.id for each in returns])
        return policy.queued([(each.id, each.recipient) for each in returns])


def _credential(session: Session) -> Credential:
    credential = session.credential
    if credential is None:
        raise RuntimeError("a message without a login")
    return credential
