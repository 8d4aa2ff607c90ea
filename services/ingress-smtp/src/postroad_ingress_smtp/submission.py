"""Taking submitted mail: what a login may do, and the way of a message onto the queue.

At the dot: control headers are read and taken out, a large body is stored, the submission is
published, and only its confirm lets the `250` out.
"""

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
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.parameters import Notify, RcptParameters, Ret
from postroad_common.mail.reply import Reply
from postroad_common.schemas.events import accepted
from postroad_common.schemas.framing import encode
from postroad_common.schemas.submission import NotifyWish, Recipient, RetWish, Submission
from postroad_common.store.bodies import Bodies
from postroad_common.store.credentials import Credential
from postroad_ingress_smtp import metrics, policy
from postroad_ingress_smtp.admission import Rates
from postroad_ingress_smtp.content import ContentRules
from postroad_ingress_smtp.envelope import Addressee, Envelope
from postroad_ingress_smtp.logins import Logins
from postroad_ingress_smtp.session import Session

_log = structlog.get_logger(__name__)

ANSWER_WITHIN = 4.5
"""Seconds from the dot to the reply, whatever is away; the contract says 5."""
_LEAST_PUBLISH_SECONDS = 1.0
_RETS: dict[Ret, RetWish] = {Ret.FULL: "full", Ret.HDRS: "hdrs"}
_NOTIFIES: dict[Notify, NotifyWish] = {
    Notify.NEVER: "never",
    Notify.SUCCESS: "success",
    Notify.FAILURE: "failure",
    Notify.DELAY: "delay",
}


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
        credential = _credential(session)
        wait = self._recipient_rates.take(credential.username, self._clock())
        if wait:
            return policy.too_fast("recipients", wait)
        return Addressee(mailbox, parameters)

    def ready(self) -> Reply | None:
        """See `Reception`: not while the broker is away."""
        return None if self._handover.publisher.is_up else policy.UNREADY

    async def accept(
        self, session: Session, envelope: Envelope, raw: bytes, *, eightbit: bool, subject: str
    ) -> Reply:
        """See `Reception`."""
        started = self._clock()
        try:
            controls = read_controls(raw)
        except ControlError as error:
            return policy.bad_control(error.header, str(error).partition(": ")[2])
        credential = _credential(session)
        handover = self._handover
        parameters = envelope.parameters
        received = time.time()
        body = controls.stripped
        submission = Submission(
            id=new_id(received),
            account=credential.account,
            credential=credential.username,
            source="smtp",
            received=received,
            envelope=envelope.sender_text,
            recipients=tuple(_recipient(addressee, received) for addressee in envelope.recipients),
            ret=_RETS[parameters.ret] if parameters.ret else None,
            envid=parameters.envid,
            smtputf8=parameters.smtputf8,
            eightbit=eightbit,
            requiretls=parameters.requiretls,
            features=credential.features.overridden(controls.features),
            forward_bounces=credential.forward_bounces,
            tags=controls.tags,
            images_hosted=bool(controls.images_hosted),
            expires=received + handover.expire_seconds,
            client=session.client(smtputf8=parameters.smtputf8),
            subject=subject,
            size=len(body),
        )
        try:
            await self._hand_over(submission, body, started)
        except (Transient, Unroutable) as error:
            _log.warning("message not taken", submission=submission.id, reason=str(error))
            return policy.AWAY
        self._tell(submission)
        _log.debug("message taken", submission=submission.id, size=len(body))
        return policy.queued([(each.id, each.address) for each in submission.recipients])

    async def _hand_over(self, submission: Submission, body: bytes, started: float) -> None:
        handover = self._handover
        if len(body) > handover.inline_body_max:
            if not handover.publisher.is_up:
                raise BrokerAway("no connection to RabbitMQ")
            keep = submission.expires + handover.body_keep_seconds
            reference = await handover.bodies.put(body, keep)
            frame = encode(submission.model_copy(update={"body": reference}))
        else:
            frame = encode(submission, body)
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


def _credential(session: Session) -> Credential:
    credential = session.credential
    if credential is None:
        raise RuntimeError("a message without a login")
    return credential


def _recipient(addressee: Addressee, received: float) -> Recipient:
    parameters = addressee.parameters
    return Recipient(
        id=new_id(received),
        address=addressee.mailbox.text,
        notify=tuple(sorted(_NOTIFIES[wish] for wish in parameters.notify)),
        orcpt=(f"{parameters.orcpt.kind};{parameters.orcpt.address}" if parameters.orcpt else None),
    )
