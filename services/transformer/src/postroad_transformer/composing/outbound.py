"""From one submission to outbound messages: who shares a message, and what is on the wire.

Recipients share a message, per destination domain, where neither content nor envelope differs
between them; otherwise each gets its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from postroad_common.mail.address import domain_of
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient, Patch
from postroad_common.schemas.submission import BodyReference, Recipient, Submission
from postroad_transformer.composing.composer import ComposedContent, Composer

MAX_RECIPIENTS = 100  # that every server takes in one transaction (RFC 5321 section 4.5.3.1.8)

Group = tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A body in the store, and where in it the body of this mail starts."""

    body: BodyReference
    skip: int


def wants_bounce_address(submission: Submission) -> bool:
    """Whether the envelope sender is replaced; the null sender never is."""
    return submission.features.bouncetracking and bool(submission.envelope)


def groups(
    submission: Submission, recipients: Sequence[Recipient], *, personal: bool
) -> list[Group]:
    """Return the recipients of each outbound message."""
    if personal or wants_bounce_address(submission):
        return [(recipient,) for recipient in recipients]
    by_domain: dict[str, list[Recipient]] = {}
    for recipient in recipients:
        by_domain.setdefault(domain_of(recipient.address), []).append(recipient)
    return [
        tuple(together[at : at + MAX_RECIPIENTS])
        for together in by_domain.values()
        for at in range(0, len(together), MAX_RECIPIENTS)
    ]


class Envelopes:
    """Makes the frames of one submission. With `stored` they carry the header block only."""

    def __init__(
        self,
        submission: Submission,
        composer: Composer,
        bounces: BounceAddresses,
        stored: Stored | None,
        return_path: str | None = None,
    ) -> None:
        """`return_path`: the host of the bounce addresses; None for the common one."""
        self._return_path = return_path
        self._submission = submission
        self._composer = composer
        self._bounces = bounces
        self._stored = stored
        self._has_bounce_address = wants_bounce_address(submission)
        template = composer.template
        self._body_size = template.body_size
        self._eightbit = not all(map(bytes.isascii, composer.skeleton_pieces))
        self._same = self._shared_fields()

    def _shared_fields(self) -> dict[str, Any]:
        """Return the fields that all messages of the submission share."""
        submission = self._submission
        same: dict[str, Any] = {
            name: getattr(submission, name)
            for name in (
                "account",
                "envelope",
                "ret",
                "envid",
                "smtputf8",
                "requiretls",
                "forward_bounces",
                "tags",
                "subject",
                "received",
                "expires",
            )
        }
        same["submission"] = submission.id
        same["not_before"] = same["send_at"] = submission.send_at
        same["bouncetracking"] = self._has_bounce_address
        if self._stored is not None:
            same |= {"body": self._stored.body, "skip": self._stored.skip}
        return same

    def frame(self, group: Group, content: ComposedContent) -> tuple[str, bytes]:
        """Return the routing key (destination domain) and the frame of `content` for `group`."""
        message_id = group[0].id
        mail_from = self._submission.envelope
        if self._has_bounce_address:
            mail_from = self._bounces.address(message_id, self._return_path)
        patches: tuple[Patch, ...] = ()
        if self._stored is not None:
            patches = tuple(
                Patch.model_construct(at=self._stored.skip + at, data=fill)
                for at, fill in self._composer.patches(content)
            )
        message = OutboundMessage(
            id=message_id,
            mail_from=mail_from,
            recipients=tuple(
                OutboundRecipient(
                    id=recipient.id,
                    address=recipient.address,
                    notify=recipient.notify,
                    orcpt=recipient.orcpt,
                )
                for recipient in group
            ),
            size=len(content.head) + self._body_size,
            patches=patches,
            eightbit=self._eightbit or not content.head.isascii(),
            **self._same,
        )
        body = content.head
        if self._stored is None:
            body += self._composer.body(content)
        return domain_of(group[0].address), encode(message, body)
