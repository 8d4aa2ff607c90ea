"""Taking returned mail: only what is addressed to a bounce address that Postroad signed.

What a return means is found out by the bounce-processor.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from postroad_common.broker import topology
from postroad_common.errors import Transient, Unroutable
from postroad_common.mail.address import Mailbox
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.parameters import RcptParameters
from postroad_common.mail.reply import Reply
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.framing import encode
from postroad_common.schemas.returns import Return
from postroad_common.schemas.submission import BodyReference
from postroad_ingress_smtp import metrics, policy
from postroad_ingress_smtp.content import ContentRules
from postroad_ingress_smtp.envelope import Addressee, Envelope
from postroad_ingress_smtp.session import Session
from postroad_ingress_smtp.submission import ANSWER_WITHIN, Handover

_log = structlog.get_logger(__name__)


class ReturnReception:
    """The reception of the MX listener."""

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
        return None if self._handover.publisher.is_up else policy.UNREADY

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
        returns = [
            Return(
                id=new_id(received),
                received=received,
                mail_from=envelope.sender_text,
                recipient=addressee.mailbox.text,
                message_id=addressee.message_id or "",
                client=client,
                size=len(raw),
            )
            for addressee in envelope.recipients
        ]
        try:
            body: BodyReference | None = None
            if len(raw) > handover.inline_body_max:
                keep = received + handover.body_keep_seconds
                body = await handover.bodies.put(raw, keep)
            left = ANSWER_WITHIN - (self._clock() - started)
            async with asyncio.timeout(max(1.0, left)):
                await handover.publisher.publish_many(
                    [("", topology.RETURNS.name, _frame(each, raw, body)) for each in returns]
                )
        except (Transient, Unroutable, TimeoutError) as error:
            _log.warning("return not taken", ids=[each.id for each in returns], reason=str(error))
            return policy.AWAY
        metrics.PUBLISH_SECONDS.observe(self._clock() - started)
        _log.debug("return taken", ids=[each.id for each in returns])
        return policy.queued([(each.id, each.recipient) for each in returns])


def _frame(returned: Return, raw: bytes, body: BodyReference | None) -> bytes:
    if body is None:
        return encode(returned, raw)
    return encode(returned.model_copy(update={"body": body}))
