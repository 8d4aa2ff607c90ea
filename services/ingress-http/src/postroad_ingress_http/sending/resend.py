"""A mail sent again: a new submission of what the archive has, to the same recipient.

It is transformed anew with the settings it had; its new message has an id of its own, and what
happens later belongs to that. What was a test is one again.
"""

from postroad_common.mail.address import AddressError, parse_mailbox
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.messageid import message_id_hash
from postroad_common.mail.senders import first_sender
from postroad_common.schemas.archive import ArchivedMail
from postroad_common.schemas.submission import NotifyWish, Recipient, RetWish, Submission
from postroad_common.store.messages import MessageRecord
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.sending.accept import Acceptance
from postroad_ingress_http.sending.permissions import check_account, check_sender
from postroad_ingress_http.sending.submission import Identify, Prepared, RequestOrigin

_NOTIFY: dict[str, NotifyWish] = {
    "never": "never",
    "success": "success",
    "failure": "failure",
    "delay": "delay",
}
_RET: dict[str, RetWish] = {"full": "full", "hdrs": "hdrs"}


def _new(_: str) -> str:
    return new_id()


async def resend(
    record: MessageRecord,
    archived: ArchivedMail,
    raw: bytes,
    origin: RequestOrigin,
    acceptance: Acceptance,
    *,
    identify: Identify = _new,
) -> dict[str, str]:
    """Inject the message of `record` again; return its new id and its recipient.

    `identify` makes the ids: who may have to do it twice gives the same ones.

    Raises:
        ApiError: 403, token or account may not send it; 409, it is mail that Postroad wrote itself,
            or its address has been erased.
        BrokerAway, StoreAway: it may not be safe; the client must be told so.
    """
    prepared = _prepare(record, archived, raw, origin, acceptance, identify=identify)
    rights = await acceptance.sending.of(origin.account)
    check_account(rights, 1)
    check_sender(rights, origin, prepared)
    await acceptance.injector.inject(prepared)
    return prepared.answer()


def _prepare(
    record: MessageRecord,
    archived: ArchivedMail,
    raw: bytes,
    origin: RequestOrigin,
    acceptance: Acceptance,
    *,
    identify: Identify,
) -> Prepared:
    now = acceptance.clock()
    recipient = Recipient(
        id=identify(record.recipient),
        address=_address(record.recipient),
        notify=tuple(_NOTIFY[wish] for wish in record.notify if wish in _NOTIFY),
        orcpt=record.orcpt,
    )
    submission = Submission(
        id=identify(""),
        account=origin.account,
        credential=origin.credential,
        source="rest",
        received=now,
        envelope=record.envelope,
        recipients=(recipient,),
        ret=_RET.get(record.ret or ""),
        envid=record.envid,
        smtputf8=archived.smtputf8,
        eightbit=not raw.isascii(),
        requiretls=archived.requiretls,
        features=record.features,
        forward_bounces=record.forward_bounces,
        tags=record.tags,
        metadata=dict(record.metadata),
        template=record.template,
        images_hosted=archived.images_hosted,
        text_from_html=archived.text_from_html,
        list="" if record.list == first_sender(raw) else record.list,
        sender=first_sender(raw),
        message_id_hash=message_id_hash(raw),
        list_unsubscribe=archived.list_unsubscribe,
        test=record.test or origin.test,
        expires=now + acceptance.rules.deliver_seconds,
        client=origin.client,
        subject=record.subject,
        size=len(raw),
    )
    return Prepared(submission, raw, whole=True)


def _address(text: str) -> str:
    try:
        return parse_mailbox(text, smtputf8=True).text
    except AddressError:
        raise ApiError(
            409, "The address of this message is not known any more.", code="conflict"
        ) from None
