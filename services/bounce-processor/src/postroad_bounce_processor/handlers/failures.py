"""Handles what the sender reports: a batch of `bounce-processor.failures` to DSNs and suppressions.

The sender has told the event log already. Here it is decided whether the address is suppressed
(the server said so to our face, which is the best evidence there is) and whether the envelope
sender gets a delivery status notification.
"""

from collections.abc import Callable, Sequence

import structlog

from postroad_bounce_processor import metrics
from postroad_bounce_processor.effects import EffectCommitter, Effects, SoftBounce
from postroad_bounce_processor.reporting.dsn import Notification, write
from postroad_bounce_processor.reporting.notify import can_be_told, wants_report
from postroad_bounce_processor.reporting.pace import Pace
from postroad_bounce_processor.suppression import hard_life
from postroad_common.broker.delivery import Delivery
from postroad_common.classification.classifier import Classifier, ClassVerdict
from postroad_common.classification.explaining import explain
from postroad_common.classification.rule import STAGES_OF_ATTEMPTS
from postroad_common.mail.address import domain_of
from postroad_common.mail.classification import Classification
from postroad_common.mail.identifiers import derived_id
from postroad_common.schemas.events import notified, written
from postroad_common.schemas.framing import FrameError, decode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.schemas.returns import SUPPRESSION, DeliveryFailure
from postroad_common.store.bodies import BodyGone
from postroad_common.store.database import Database

MAX_RETURNED = 5 * 1024 * 1024
"""Octets of a message that a DSN returns in full; of larger ones it returns the header."""

_SUPPRESSED = (
    "Nothing was sent: this relay does not write to the address any more. Who runs the account "
    "can take it off the suppression list."
)
_KEEP_BODY = 86_400.0  # seconds that the stored body of a large DSN outlives its expiry
_log = structlog.get_logger("bounce-processor")


class FailuresHandler:
    """See the module."""

    def __init__(
        self,
        database: Database,
        committer: EffectCommitter,
        classifier: Classifier,
        *,
        hostname: str,
        bounce_domain: str,
        simulator_domain: str,
        max_deliver_seconds: float,
        inline_body_max: int,
        origins: Pace,
        clock: Callable[[], float],
    ) -> None:
        """`origins` paces notifications per envelope sender.

        Of addresses at the `simulator_domain` nothing is learnt.
        """
        self._database = database
        self._committer = committer
        self._classifier = classifier
        self._hostname = hostname
        self._bounce_domain = bounce_domain
        self._simulator_domain = simulator_domain
        self._max_deliver_seconds = max_deliver_seconds
        self._inline_body_max = inline_body_max
        self._origins = origins
        self._clock = clock

    async def __call__(self, deliveries: list[Delivery]) -> None:
        """Handle a batch; each delivery ends here, or `Transient` is raised."""
        effects = Effects()
        done: list[Delivery] = []
        for delivery in deliveries:
            try:
                failure, quoted = decode(DeliveryFailure, delivery.body)
            except FrameError as error:
                await delivery.dead(f"not a delivery failure: {error}")
                continue
            metrics.FAILURES_AGE.observe(max(0.0, self._clock() - failure.time))
            stage = STAGES_OF_ATTEMPTS.get(failure.stage, "")
            verdict = self._classifier.classify(
                failure.code, failure.enhanced, failure.reply, stage
            )
            if is_of_delivery(failure) and failure.outbound.kind == "mail":
                self._suppress(failure, verdict, effects)
            await self._notify(failure, bytes(quoted), verdict, effects)
            done.append(delivery)
        await self._committer.commit(effects)
        for delivery in done:
            delivery.ack()

    def _suppress(self, failure: DeliveryFailure, verdict: ClassVerdict, effects: Effects) -> None:
        message = failure.outbound
        reason = f"{verdict.classification}: {failure.reply}"
        for recipient in message.recipients:
            if domain_of(recipient.address) == self._simulator_domain:
                continue
            hard = is_hard(failure, verdict, recipient)
            effects.count(metrics.BOUNCES, "failure", verdict.classification, str(hard).lower())
            if hard:
                effects.suppress(
                    "hard",
                    account=message.account,
                    address=recipient.address,
                    message=recipient.id,
                    reason=reason,
                    time=failure.time,
                    life=hard_life(verdict.classification),
                )
            elif _is_ill(verdict) and _names(failure, recipient):
                effects.soft.append(
                    SoftBounce(
                        message.account, recipient.address, recipient.id, reason, failure.time
                    )
                )

    async def _notify(
        self, failure: DeliveryFailure, quoted: bytes, verdict: ClassVerdict, effects: Effects
    ) -> None:
        message = failure.outbound
        recipients = self._to_report(failure)
        if not recipients:
            return
        now = self._clock()
        moment = self._origins.moment(message.envelope, failure.id, now)
        if moment is None:
            effects.count(metrics.LEFT_OUT, "pace")
            _log.warning("notification left out: its origin gets too many", id=message.id)
            return
        # From the attempt, not from the report of it: the sender may report twice after a crash.
        ids = (recipient.id for recipient in recipients)
        notification_id = derived_id(
            message.received, "dsn", failure.outcome, str(message.attempt), *ids
        )
        notification = write(
            failure,
            recipients,
            await self._returned(failure, quoted),
            message_id=notification_id,
            hostname=self._hostname,
            explanation=_explanation(failure, verdict),
        )
        made, content = await self._outbound(failure, notification, notification_id, now, moment)
        effects.outbound.append((made, content))
        effects.events.append(written(made, recipients[0].id))
        effects.events += [
            notified(message, recipient.id, notification_id, failure.outcome, failure.time)
            for recipient in recipients
        ]
        effects.count(metrics.REPORTS, failure.outcome)
        _log.debug(
            "notification written",
            id=message.id,
            notification=notification_id,
            outcome=failure.outcome,
            recipients=len(recipients),
        )

    def _to_report(self, failure: DeliveryFailure) -> Sequence[OutboundRecipient]:
        """Return the recipients whose outcome the envelope sender is to be told."""
        message = failure.outbound
        if not can_be_told(message.envelope, message.kind, self._bounce_domain):
            return ()
        if message.bouncetracking and not message.forward_bounces:
            return ()
        return [
            recipient
            for recipient in message.recipients
            if wants_report(recipient.notify, failure.outcome)
        ]

    async def _returned(self, failure: DeliveryFailure, quoted: bytes) -> bytes:
        """Return the whole message where RET=FULL asks for one that travels by claim check."""
        message = failure.outbound
        if (
            message.ret != "full"
            or message.body is None
            or failure.outcome not in {"failed", "expired"}
            or message.size > MAX_RETURNED
        ):
            return quoted
        try:
            stored = (await self._database.bodies.get(message.body))[message.skip :]
        except BodyGone:
            return quoted
        pieces = [quoted]
        position = 0
        for patch in message.patches:
            at = patch.at - message.skip
            pieces += [stored[position:at], patch.data]
            position = at
        return b"".join((*pieces, stored[position:]))

    async def _outbound(
        self,
        failure: DeliveryFailure,
        notification: Notification,
        notification_id: str,
        now: float,
        moment: float,
    ) -> tuple[OutboundMessage, bytes]:
        content = notification.content
        expires = now + self._max_deliver_seconds
        reference = None
        if len(content) > self._inline_body_max:
            reference = await self._database.bodies.put(content, expires + _KEEP_BODY)
        message = OutboundMessage(
            id=notification_id,
            submission=failure.outbound.submission,
            account=failure.outbound.account,
            kind="dsn",
            envelope="",
            mail_from="",
            recipients=(
                OutboundRecipient(id=notification_id, address=notification.to, notify=("never",)),
            ),
            smtputf8=notification.smtputf8,
            eightbit=notification.eightbit,
            forward_bounces=False,
            subject=notification.subject,
            received=failure.time,
            expires=expires,
            not_before=moment if moment > now else None,
            size=len(content),
            body=reference,
            skip=notification.head if reference else 0,
        )
        return message, content[: notification.head] if reference else content


def is_of_delivery(failure: DeliveryFailure) -> bool:
    """Tell whether delivery has failed, which says something about the address.

    That an address is suppressed says nothing new, and must not renew its suppression.
    """
    return failure.outcome in {"failed", "expired"} and failure.stage != SUPPRESSION


def _explanation(failure: DeliveryFailure, verdict: ClassVerdict) -> str:
    if failure.stage == SUPPRESSION:
        return _SUPPRESSED
    return explain(verdict.classification, failure.enhanced).meaning


def is_hard(failure: DeliveryFailure, verdict: ClassVerdict, recipient: OutboundRecipient) -> bool:
    """Tell whether a failure in conversation means that the address is dead.

    The reply must be about this recipient, or the domain must be known not to exist.
    """
    if failure.outcome != "failed" or not verdict.hard:
        return False
    if verdict.classification is Classification.NO_SUCH_DOMAIN and failure.stage == "route":
        return True
    return _names(failure, recipient)


def _is_ill(verdict: ClassVerdict) -> bool:
    """Tell whether a failure counts against the mailbox: also a dead one that is not proven so."""
    return verdict.classification.counts or verdict.classification.hard


def _names(failure: DeliveryFailure, recipient: OutboundRecipient) -> bool:
    """Whether the reply was to RCPT, or to the whole message and names the address.

    A reply to the whole message is given to all recipients of a transaction, and the one whom it
    means is not known unless it says so.
    """
    if failure.stage == "rcpt":
        return True
    return failure.stage in {"data", "dot"} and recipient.address.lower() in failure.reply.lower()
