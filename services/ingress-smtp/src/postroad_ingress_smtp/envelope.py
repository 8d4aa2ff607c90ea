"""The envelope of the transaction in progress, with the parameters of each recipient."""

from dataclasses import dataclass

from aiosmtpd.smtp import Envelope as StockEnvelope

from postroad_common.mail.address import Mailbox
from postroad_common.mail.parameters import MailParameters, RcptParameters


@dataclass(frozen=True, slots=True)
class Addressee:
    """A recipient that was accepted. `message_id`: of the message that comes back, for returns."""

    mailbox: Mailbox
    parameters: RcptParameters
    message_id: str | None = None


class Envelope(StockEnvelope):
    """What MAIL and RCPT said.

    The stock fields stay unused: they know no null sender, fold the case of parameters and mix
    those of all recipients.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open = False
        """Whether MAIL was accepted."""
        self.sender: Mailbox | None = None
        """None for the null sender, once `open`."""
        self.parameters = MailParameters()
        self.recipients: list[Addressee] = []
        self.refused = 0
        """Recipients that were refused."""

    @property
    def sender_text(self) -> str:
        """The sender's address; empty for the null sender."""
        return self.sender.text if self.sender else ""
