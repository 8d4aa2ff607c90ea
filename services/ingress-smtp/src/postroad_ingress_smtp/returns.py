"""Returns out of a message that came back: one for each address of ours it was sent to.

What is done with them is in `handler`; what a return means is found out by the bounce-processor.
"""

from typing import Any

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.returns import Return
from postroad_common.schemas.submission import Client
from postroad_ingress_smtp.envelope import Envelope, EnvelopeRecipient


def make_returns(envelope: Envelope, *, client: Client, received: float, size: int) -> list[Return]:
    """Return one for each address of ours but the operator's, each with a new id.

    `received` is Unix time, `size` in octets.
    """
    return [
        Return(
            id=new_id(received),
            received=received,
            mail_from=envelope.sender,
            recipient=recipient.mailbox.text,
            message_id=recipient.message_id or "",
            client=client,
            size=size,
            **_complaint(recipient),
        )
        for recipient in envelope.recipients
        if not recipient.operator
    ]


def _complaint(recipient: EnvelopeRecipient) -> dict[str, Any]:
    """Return what only mail to an address for complaints has."""
    feedback = recipient.feedback
    if feedback is None:
        return {}
    return {"feedback": "secret" if feedback.secret else "open", "account": feedback.account}
