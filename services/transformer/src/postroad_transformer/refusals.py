"""Suppressed recipients as failures, for the bounce-processor: whoever asks for it is told.

They take the same road as failures that the sender meets; there it is decided whether a
notification is written (NOTIFY, the login's settings, never for the null sender).
"""

from collections.abc import Iterator, Sequence

from postroad_common.mail.identifiers import derived_id
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.schemas.returns import SUPPRESSION, DeliveryFailure
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.suppressions import Suppression
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.outbound import wants_bounce_address

_WHY = {
    "hard": "mail to it was returned for good",
    "soft": "mail to it was returned for weeks",
    "complaint": "its owner complained about mail",
    "unsubscribe": "its owner unsubscribed",
    "manual": "it was entered by hand",
}


def refused(
    submission: Submission,
    recipients: Sequence[tuple[Recipient, Suppression]],
    composer: Composer,
    now: float,
) -> Iterator[bytes]:
    """Yield frames for the failures queue: one for each kind of suppression among `recipients`.

    Made twice of the same submission they lead to the same notifications. `now` is Unix seconds.
    """
    by_kind: dict[str, list[Recipient]] = {}
    for recipient, entry in recipients:
        by_kind.setdefault(entry.kind, []).append(recipient)
    for kind, group in by_kind.items():
        message, quoted = _outbound(submission, group, composer)
        failure = DeliveryFailure(
            id=derived_id(submission.received, "suppressed", submission.id, kind),
            outbound=message,
            outcome="failed",
            reply=f"550 5.7.1 Not sent: on the suppression list of this account, because "
            f"{_WHY.get(kind, kind)}",
            code=550,
            enhanced="5.7.1",
            stage=SUPPRESSION,
            time=now,
            attempts=0,
        )
        yield encode(failure, quoted)


def _outbound(
    submission: Submission, group: Sequence[Recipient], composer: Composer
) -> tuple[OutboundMessage, bytes]:
    """Return the message as it would have gone out, and what of it a notification may quote."""
    template = composer.template
    content = composer.content(group[0].id)
    stored = submission.body if template.body_at >= 0 else None
    quoted = content.head
    if submission.ret == "full" and submission.body is None:
        quoted += composer.body(content)
    message = OutboundMessage(
        id=group[0].id,
        submission=submission.id,
        account=submission.account,
        envelope=submission.envelope,
        mail_from=submission.envelope,
        recipients=tuple(
            OutboundRecipient(
                id=recipient.id,
                address=recipient.address,
                notify=recipient.notify,
                orcpt=recipient.orcpt,
            )
            for recipient in group
        ),
        ret=submission.ret,
        envid=submission.envid,
        smtputf8=submission.smtputf8,
        bouncetracking=wants_bounce_address(submission),
        forward_bounces=submission.forward_bounces,
        subject=submission.subject,
        received=submission.received,
        expires=submission.expires,
        size=len(content.head) + template.body_size,
        body=stored,
        skip=template.body_at if stored else 0,
    )
    return message, quoted
