"""A submission out of what the client said: envelope, parameters, control headers, login.

What is done with it is in `handler`.
"""

from postroad_common.mail.control import Controls
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.messageid import message_id_hash
from postroad_common.mail.parameters import Notify, Ret
from postroad_common.mail.senders import first_sender
from postroad_common.schemas.submission import (
    Client,
    NotifyWish,
    Recipient,
    RetWish,
    Submission,
)
from postroad_common.store.credentials import Credential
from postroad_ingress_smtp.content import Message
from postroad_ingress_smtp.envelope import Envelope, EnvelopeRecipient

_RETS: dict[Ret, RetWish] = {Ret.FULL: "full", Ret.HDRS: "hdrs"}
_NOTIFIES: dict[Notify, NotifyWish] = {
    Notify.NEVER: "never",
    Notify.SUCCESS: "success",
    Notify.FAILURE: "failure",
    Notify.DELAY: "delay",
}


def make_submission(
    credential: Credential,
    envelope: Envelope,
    message: Message,
    controls: Controls,
    *,
    client: Client,
    received: float,
    expire_seconds: float,
) -> Submission:
    """Return the submission of an acceptable message, with a new id for it and for each recipient.

    `received` is Unix time; the message is given up `expire_seconds` later.
    """
    parameters = envelope.parameters
    return Submission(
        id=new_id(received),
        account=credential.account,
        credential=credential.username,
        source="smtp",
        received=received,
        envelope=envelope.sender,
        recipients=tuple(_recipient(recipient, received) for recipient in envelope.recipients),
        ret=_RETS[parameters.ret] if parameters.ret else None,
        envid=parameters.envid,
        smtputf8=parameters.smtputf8,
        eightbit=message.eightbit,
        requiretls=parameters.requiretls,
        line_ends_repaired=message.line_ends_repaired,
        features=credential.features.overridden(controls.features),
        forward_bounces=credential.forward_bounces,
        tags=controls.tags,
        images_hosted=bool(controls.images_hosted),
        text_from_html=bool(controls.text_from_html),
        list=controls.list or "",
        sender=first_sender(controls.stripped),
        message_id_hash=message_id_hash(controls.stripped),
        list_unsubscribe=controls.list_unsubscribe,
        keep_content=credential.keep_content
        if controls.keep_content is None
        else controls.keep_content,
        test=credential.test or controls.test,
        expires=received + expire_seconds,
        client=client,
        subject=message.subject,
        traceparent=controls.traceparent,
        size=len(controls.stripped),
    )


def _recipient(recipient: EnvelopeRecipient, received: float) -> Recipient:
    parameters = recipient.parameters
    return Recipient(
        id=new_id(received),
        address=recipient.mailbox.text,
        notify=tuple(sorted(_NOTIFIES[wish] for wish in parameters.notify)),
        orcpt=(f"{parameters.orcpt.kind};{parameters.orcpt.address}" if parameters.orcpt else None),
    )
