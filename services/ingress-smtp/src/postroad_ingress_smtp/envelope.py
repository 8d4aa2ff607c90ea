"""The envelope of the transaction in progress, with the parameters of each recipient."""

from dataclasses import dataclass, replace

from aiosmtpd.smtp import Envelope as StockEnvelope

from postroad_common.mail.address import Mailbox
from postroad_common.mail.feedbackloop import FeedbackAddress
from postroad_common.mail.parameters import MailParameters, RcptParameters


@dataclass(frozen=True, slots=True)
class EnvelopeRecipient:
    """A recipient that was accepted.

    `message_id`: of the message that comes back, for returns; `feedback` for complaints;
    `operator`: it is for whoever runs this installation.
    """

    mailbox: Mailbox
    parameters: RcptParameters
    message_id: str | None = None
    feedback: FeedbackAddress | None = None
    operator: bool = False


class Envelope(StockEnvelope):
    """What MAIL and RCPT said.

    The stock fields stay unused: they know no null sender, fold the case of parameters and mix
    those of all recipients.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open = False
        """Whether MAIL was accepted."""
        self.sender = ""
        """The address of MAIL; empty for the null sender, once `open`."""
        self.parameters = MailParameters()
        self._recipients: dict[str, EnvelopeRecipient] = {}
        self.refused = 0
        """Recipients that were refused."""

    @property
    def recipients(self) -> tuple[EnvelopeRecipient, ...]:
        """The accepted recipients, each once, in their order."""
        return tuple(self._recipients.values())

    @property
    def size(self) -> int:
        """How many recipients were accepted."""
        return len(self._recipients)

    def has(self, mailbox: Mailbox) -> bool:
        """Return whether it is a recipient already."""
        return mailbox.identity in self._recipients

    def add(self, recipient: EnvelopeRecipient) -> None:
        """Add a recipient that is none yet."""
        self._recipients[recipient.mailbox.identity] = recipient

    def unite(self, mailbox: Mailbox, parameters: RcptParameters) -> None:
        """Let a recipient that was named again have what either command asks for."""
        known = self._recipients[mailbox.identity]
        self._recipients[mailbox.identity] = replace(
            known, parameters=known.parameters.united(parameters)
        )
