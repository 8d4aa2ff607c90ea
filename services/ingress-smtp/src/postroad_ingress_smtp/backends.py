"""Who may send what to whom, before any of it is read: one backend for each kind of mail.

What becomes of a message once it has arrived is in `handler`.
"""

import time
from collections.abc import Callable

from postroad_common.broker.eventwriter import EventWriter
from postroad_common.errors import StoreAway
from postroad_common.mail.address import AddressError, Mailbox, parse_mailbox
from postroad_common.mail.feedbackloop import FeedbackAddresses
from postroad_common.mail.parameters import RcptParameters
from postroad_common.mail.reply import Reply
from postroad_common.mail.verp import BounceAddresses
from postroad_common.store.credentials import Credential
from postroad_common.store.sendingrights import SendingRules
from postroad_common.tokenbucket import TokenBuckets
from postroad_ingress_smtp import replies
from postroad_ingress_smtp.content import ContentRules, Message
from postroad_ingress_smtp.envelope import Envelope, EnvelopeRecipient
from postroad_ingress_smtp.handler import Arrival, accept, accept_return
from postroad_ingress_smtp.injector import Injector
from postroad_ingress_smtp.logins import Logins
from postroad_ingress_smtp.operatormail import OperatorMail
from postroad_ingress_smtp.permissions import check_from, check_network, check_rights, check_sender
from postroad_ingress_smtp.session import Session


class SubmissionBackend:
    """What the submission listeners take: anything, from a login that may send it."""

    name = "submission"
    needs_login = True
    forgiving = False

    def __init__(
        self,
        injector: Injector,
        *,
        events: EventWriter,
        logins: Logins,
        sending: SendingRules,
        message_rates: TokenBuckets[str] | None,
        recipient_rates: TokenBuckets[str] | None,
        rules: ContentRules,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._injector = injector
        self._events = events
        self._logins = logins
        self._sending = sending
        self._message_rates = message_rates
        self._recipient_rates = recipient_rates
        self._clock = clock
        self.rules = rules

    def read_sender(self, text: str, *, smtputf8: bool) -> str | Reply:
        """See `Backend`: a mailbox."""
        if not text.isascii() and not smtputf8:
            return replies.needs_smtputf8("sender")
        try:
            return parse_mailbox(text, smtputf8=smtputf8).text
        except AddressError as error:
            return replies.bad_sender(str(error))

    async def begin(self, session: Session, sender: str) -> Reply | None:
        """See `Backend`. The login is looked at anew: it may have been disabled or changed."""
        credential = session.credential
        if credential is None:
            return replies.NEED_LOGIN
        try:
            now = await self._logins.current(credential.username)
        except (StoreAway, TimeoutError):
            now = credential  # this session was let in; it goes on while the database is away
        if now is not credential:
            if now is None or now.disabled or now.password_hash != credential.password_hash:
                return replies.LOGIN_GONE
            session.credential = credential = now
            if check_network(credential, session.address) is not None:
                return replies.LOGIN_GONE
        try:
            rights = await self._sending.of(credential.account)
        except (StoreAway, TimeoutError):
            return replies.UNREADY
        refusal = check_sender(credential, sender) or check_rights(rights, sender)
        if refusal is not None:
            return refusal
        return self._too_fast("messages", self._message_rates, credential)

    def recipient(
        self, session: Session, mailbox: Mailbox, parameters: RcptParameters
    ) -> EnvelopeRecipient | Reply:
        """See `Backend`."""
        refusal = self._too_fast("recipients", self._recipient_rates, _credential(session))
        return refusal or EnvelopeRecipient(mailbox, parameters)

    def _too_fast(
        self, what: str, rates: TokenBuckets[str] | None, credential: Credential
    ) -> Reply | None:
        wait = rates.take(credential.username, self._clock()) if rates else 0.0
        return replies.too_fast(what, wait) if wait else None

    def ready(self) -> Reply | None:
        """See `Backend`: not while the broker is away."""
        return self._injector.ready()

    async def accept(self, session: Session, envelope: Envelope, message: Message) -> Reply:
        """See `Backend`."""
        credential = _credential(session)
        try:
            rights = await self._sending.of(credential.account)
        except (StoreAway, TimeoutError):
            return replies.UNREADY
        refusal = check_from(credential, rights, message.octets)
        if refusal is not None:
            return refusal
        arrival = Arrival(session, envelope, message, dot=self._clock())
        return await accept(arrival, credential, self._injector, self._events)


class ReturnBackend:
    """What the MX listener takes: mail to bounce addresses that Postroad signed, and complaints."""

    name = "mx"
    needs_login = False
    forgiving = True

    def __init__(
        self,
        injector: Injector,
        *,
        addresses: BounceAddresses,
        feedback: FeedbackAddresses,
        rules: ContentRules,
        rates: TokenBuckets[str] | None,
        feedback_rates: TokenBuckets[str] | None,
        operator: OperatorMail | None = None,
        most_hops: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rates`: of returns to one bounce address; `feedback_rates`: of one for complaints.

        `operator`: who gets the mail to postmaster, if it is taken; from `most_hops` Received
        fields on (0: never) it is in a loop.
        """
        self._injector = injector
        self._addresses = addresses
        self._feedback = feedback
        self._rates = rates
        self._feedback_rates = feedback_rates
        self._operator = operator
        self._most_hops = most_hops
        self._clock = clock
        self.rules = rules

    def read_sender(self, text: str, *, smtputf8: bool) -> str | Reply:  # noqa: ARG002 - kept as text
        """See `Backend`: any text, which is never written to; what cannot be printed is blanked."""
        if text.isprintable():
            return text
        return "".join(char if char.isprintable() else " " for char in text)

    async def begin(self, session: Session, sender: str) -> Reply | None:  # noqa: ARG002
        """See `Backend`: bounces have the null sender, replies of people have theirs."""
        return None

    def recipient(
        self,
        session: Session,  # noqa: ARG002 - who brings it does not matter
        mailbox: Mailbox,
        parameters: RcptParameters,
    ) -> EnvelopeRecipient | Reply:
        """See `Backend`."""
        feedback = self._feedback.read(mailbox.text)
        if feedback is not None:
            return self._too_many(self._feedback_rates, mailbox.text.lower()) or EnvelopeRecipient(
                mailbox, parameters, feedback=feedback
            )
        if self._operator is not None and self._operator.takes(mailbox):
            return self._too_many(self._rates, "operator") or EnvelopeRecipient(
                mailbox, parameters, operator=True
            )
        result = self._addresses.verify(mailbox.text, time.time())
        if result.message_id is None:
            return replies.EXPIRED if result.refused == "expired" else replies.NOT_OURS
        return self._too_many(self._rates, result.message_id) or EnvelopeRecipient(
            mailbox, parameters, result.message_id
        )

    def _too_many(self, rates: TokenBuckets[str] | None, address: str) -> Reply | None:
        wait = rates.take(address, self._clock()) if rates else 0.0
        return replies.too_many_returns(wait) if wait else None

    def ready(self) -> Reply | None:
        """See `Backend`: not while the broker is away."""
        return self._injector.ready()

    async def accept(self, session: Session, envelope: Envelope, message: Message) -> Reply:
        """See `Backend`."""
        return await accept_return(
            Arrival(session, envelope, message, dot=self._clock()),
            self._injector,
            self._operator,
            self._most_hops,
        )


def _credential(session: Session) -> Credential:
    credential = session.credential
    if credential is None:
        raise RuntimeError("a message without a login")
    return credential
