"""Handles returned mail: a batch of `bounce-processor.returns` from the frame to the ack.

For each return: find the message it answers, understand it, record what happened, suppress the
address where the evidence allows, and forward it to the envelope sender where login and NOTIFY
say so. Failures that the sender met itself are the business of `failures`.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from postroad_bounce_processor import metrics
from postroad_bounce_processor.effects import EffectCommitter, Effects, SoftBounce
from postroad_bounce_processor.handlers.content import Handled, ReturnContents
from postroad_bounce_processor.handlers.feedback import Feedback, FeedbackReports
from postroad_bounce_processor.reporting.forward import forward, is_loop
from postroad_bounce_processor.reporting.notify import can_be_told, wants_return
from postroad_bounce_processor.reporting.pace import Pace
from postroad_bounce_processor.suppression import hard_life
from postroad_bounce_processor.understanding.record import ReturnKind, Understanding
from postroad_bounce_processor.understanding.understand import same_mailbox, understand
from postroad_common.broker.delivery import Delivery
from postroad_common.classification.classifier import Classifier
from postroad_common.mail.address import domain_of
from postroad_common.mail.identifiers import derived_id
from postroad_common.mail.mime import Part, read
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.events import Event, EventName, happened, written
from postroad_common.schemas.framing import FrameError, decode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.schemas.returns import Return
from postroad_common.store.database import Database
from postroad_common.store.messages import MessageRecord

NOT_YET = "its message is not in the store yet"
HOLD_SECONDS = 600.0
"""How long a return waits for its message to appear in the store (the event log may lag)."""

KEEP_SECONDS = 86_400.0
"""How long the stored content of a forward outlives its delivery time."""
OCTETS_PER_TURN = 16 * 1024
"""After how many octets of returned mail other tasks get their turn."""

_EVENTS = {
    ReturnKind.BOUNCE: EventName.BOUNCED,
    ReturnKind.COMPLAINT: EventName.COMPLAINED,
}
_log = structlog.get_logger("bounce-processor")


class ReturnsHandler:
    """See the module."""

    def __init__(
        self,
        database: Database,
        committer: EffectCommitter,
        classifier: Classifier,
        feedback: FeedbackReports,
        *,
        hostname: str,
        bounce_domain: str,
        simulator_domain: str,
        max_deliver_seconds: float,
        origins: Pace,
        messages: Pace,
        clock: Callable[[], float],
    ) -> None:
        """`origins` paces forwards per envelope sender, `messages` returns per message id.

        Of addresses at the `simulator_domain` nothing is learnt.
        """
        self._database = database
        self._committer = committer
        self._classifier = classifier
        self._feedback = feedback
        self._hostname = hostname
        self._bounce_domain = bounce_domain
        self._simulator_domain = simulator_domain
        self._max_deliver_seconds = max_deliver_seconds
        self._origins = origins
        self._messages = messages
        self._clock = clock
        self._contents = ReturnContents(
            database.bodies, keep_seconds=max_deliver_seconds + KEEP_SECONDS, clock=clock
        )

    async def __call__(self, deliveries: list[Delivery]) -> None:
        """Handle a batch; each delivery ends here, or is held, or `Transient` is raised."""
        returns = await self._read(deliveries)
        records = await self._database.messages.find_many(
            {returned.message_id for _, returned, _ in returns if returned.message_id}
        )
        effects = Effects()
        done: list[Handled] = []
        octets = 0
        await self._take_feedback(returns, effects, done)
        for delivery, returned, body in returns:
            if returned.feedback:
                continue
            record = _complete(records, returned.message_id)
            if record is None and self._clock() - returned.received < HOLD_SECONDS:
                await delivery.retry(
                    RequeueReason.MESSAGE_UNKNOWN, "its message is not in the store yet"
                )
                continue
            if self._is_too_many(returned, effects):
                done.append(Handled(delivery, returned))
                continue
            raw = await self._contents.fetch(delivery, returned, body)
            if raw is not None:
                forwarded = self._take(returned, raw, record, effects)
                done.append(Handled(delivery, returned, forwarded))
                octets += len(raw)
                if octets > OCTETS_PER_TURN:
                    octets = 0
                    await asyncio.sleep(0)  # let heartbeats and confirms through
        await self._committer.commit(effects)
        for item in done:
            item.delivery.ack()
        await self._contents.release(done)

    async def _take_feedback(
        self,
        returns: list[tuple[Delivery, Return, memoryview]],
        effects: Effects,
        done: list[Handled],
    ) -> None:
        """Take what came to the addresses for complaints."""
        reports: list[Feedback] = []
        origins: dict[str, Handled] = {}
        for delivery, returned, body in returns:
            if not returned.feedback:
                continue
            raw = await self._contents.fetch(delivery, returned, body)
            if raw is not None:
                reports.append(self._feedback.read(returned, read(raw)))
                origins[returned.id] = Handled(delivery, returned)
                await asyncio.sleep(0)
        if not reports:
            return
        waiting = await self._feedback.take(reports, effects)
        for key, item in origins.items():
            if key in waiting:
                await item.delivery.retry(
                    RequeueReason.MESSAGE_UNKNOWN, "its message is not in the store yet"
                )
            else:
                done.append(item)

    async def _read(self, deliveries: list[Delivery]) -> list[tuple[Delivery, Return, memoryview]]:
        found = []
        for delivery in deliveries:
            try:
                returned, body = decode(Return, delivery.body)
            except FrameError as error:
                await delivery.dead(f"not a return: {error}")
                continue
            metrics.RETURNS_AGE.observe(max(0.0, self._clock() - returned.received))
            found.append((delivery, returned, body))
        return found

    def _is_too_many(self, returned: Return, effects: Effects) -> bool:
        if self._messages.moment(returned.message_id, returned.id, self._clock()) is not None:
            return False
        effects.count(metrics.LEFT_OUT, "too many returns for one message")
        _log.warning(
            "too many returns for one message, this one is dropped",
            id=returned.message_id,
            returned=returned.id,
        )
        return True

    def _take(
        self, returned: Return, raw: bytes, record: MessageRecord | None, effects: Effects
    ) -> bool:
        """Add what follows from a return; return whether it is forwarded."""
        mail = read(raw)
        found = understand(
            mail,
            expected=record.recipient if record else "",
            mail_from=returned.mail_from,
            classifier=self._classifier,
        )
        is_simulated = record is not None and domain_of(record.recipient) == self._simulator_domain
        if not is_simulated:
            effects.count(metrics.RETURNS, found.kind, found.source)
        forwarded = self._forward(returned, mail, record, found, effects) if record else ""
        effects.events.append(
            _event(returned, record, found, forwarded=forwarded, is_simulated=is_simulated)
        )
        if record is None:
            _log.warning(
                "the message of this return is unknown",
                id=returned.message_id,
                returned=returned.id,
                kind=found.kind,
            )
            return False
        if not is_simulated:
            self._suppress(returned, record, found, effects)
        _log.debug(
            "return understood",
            id=returned.message_id,
            returned=returned.id,
            kind=found.kind,
            source=found.source,
            bounce_class=found.bounce_class,
            hard=found.hard,
            detail=found.detail,
            forwarded=bool(forwarded),
        )
        return bool(forwarded)

    def _suppress(
        self, returned: Return, record: MessageRecord, found: Understanding, effects: Effects
    ) -> None:
        if found.kind is ReturnKind.COMPLAINT:
            effects.suppress(
                "complaint",
                account=record.account,
                address=record.recipient,
                message=record.id,
                reason=f"complaint ({found.detail})",
                time=returned.received,
                life=None,
            )
        reason_class = found.bounce_class
        if found.kind is not ReturnKind.BOUNCE or reason_class is None:
            return
        effects.count(metrics.BOUNCES, "return", reason_class, str(found.hard).lower())
        reason = f"{reason_class}: {found.diagnostic or found.enhanced}"
        if found.hard:
            effects.suppress(
                "hard",
                account=record.account,
                address=record.recipient,
                message=record.id,
                reason=reason,
                time=returned.received,
                life=hard_life(reason_class),
            )
        elif (reason_class.counts or reason_class.hard) and same_mailbox(
            found.recipient, record.recipient
        ):
            effects.soft.append(
                SoftBounce(record.account, record.recipient, record.id, reason, returned.received)
            )

    def _forward(
        self,
        returned: Return,
        mail: Part,
        record: MessageRecord,
        found: Understanding,
        effects: Effects,
    ) -> str:
        """Return the message id under which the mail goes on; empty if it does not."""
        if not record.forward_bounces or not can_be_told(
            record.envelope, "mail", self._bounce_domain
        ):
            return ""
        if not wants_return(record.notify, found):
            return ""
        if is_loop(mail, self._bounce_domain):
            effects.count(metrics.LEFT_OUT, "loop")
            return ""
        now = self._clock()
        moment = self._origins.moment(record.envelope, returned.id, now)
        if moment is None:
            effects.count(metrics.LEFT_OUT, "pace")
            return ""
        forward_id = derived_id(returned.received, "forward", returned.id)
        raw = mail.raw
        made = forward(
            mail,
            returned,
            forward_id=forward_id,
            hostname=self._hostname,
            bounce_domain=self._bounce_domain,
        )
        message = OutboundMessage(
            id=forward_id,
            submission=forward_id,
            account=record.account,
            kind="forward",
            envelope="",
            mail_from="",
            recipients=(
                OutboundRecipient(id=forward_id, address=record.envelope, notify=("never",)),
            ),
            smtputf8=not record.envelope.isascii(),
            eightbit=not raw.isascii(),
            forward_bounces=False,
            received=returned.received,
            expires=now + self._max_deliver_seconds,
            subject=made.subject,
            not_before=moment if moment > now else None,
            size=len(made.head) + len(raw) - made.skip,
            body=returned.body,
            skip=made.skip if returned.body else 0,
        )
        body = made.head if returned.body else made.head + raw[made.skip :]
        effects.outbound.append((message, body))
        effects.events.append(written(message, record.id))
        effects.count(metrics.FORWARDS)
        return forward_id


def _complete(records: Mapping[str, MessageRecord], message_id: str) -> MessageRecord | None:
    """Return the record if its facts are there: later events may have come before the first."""
    record = records.get(message_id)
    return record if record is not None and record.recipient else None


def _event(
    returned: Return,
    record: MessageRecord | None,
    found: Understanding,
    *,
    forwarded: str,
    is_simulated: bool,
) -> Event:
    """Return the event of a return; its id is that of the cause, so twice is once."""
    name = _EVENTS.get(found.kind, EventName.RESPONSE)
    data: dict[str, object] = {
        "recipient": record.recipient if record else found.recipient,
        "return": returned.id,
        "source": found.source.value,
        "confidence": round(found.confidence, 2),
        "forwarded": bool(forwarded),
        "size": returned.size,
    }
    if name is EventName.RESPONSE:
        data["type"] = found.detail if found.kind is ReturnKind.RESPONSE else found.kind.value
    elif name is EventName.COMPLAINED:
        data["type"] = found.detail
    if found.bounce_class:
        data |= {"class": found.bounce_class.value, "hard": found.hard}
    optional = {
        "code": found.code,
        "enhanced": found.enhanced,
        "diagnostic": found.diagnostic[:1000],
        "host": found.reporting_host,
        "remote": found.remote_host,
        "detail": found.detail,
        "forward": forwarded,
        "failed_recipient": found.recipient if record else "",
        "simulated": is_simulated,
    }
    data |= {key: value for key, value in optional.items() if value}
    return happened(
        name,
        returned.message_id,
        returned.received,
        data,
        account=record.account if record else "",
        event_id=f"{returned.message_id}.{name}.{returned.id}",
    )
