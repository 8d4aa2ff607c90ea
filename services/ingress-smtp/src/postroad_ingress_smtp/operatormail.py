"""Mail to the people who run this installation: postmaster and abuse at its own hosts.

Providers write there, and ask for it where one registers for their feedback loops. It is passed on
to an address elsewhere, as it came, with the null sender: nothing can come back.
"""

from collections.abc import Collection
from dataclasses import dataclass

from postroad_common.mail.address import Mailbox
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Client, Recipient, Submission
from postroad_common.store.accounts import SYSTEM_ACCOUNT

_NAMES = frozenset({"postmaster", "abuse"})
_NO_FEATURES = Features.model_validate(dict.fromkeys(Features.model_fields, False))


@dataclass(frozen=True, slots=True)
class OperatorMail:
    """`address`: where it goes; `hosts`: whose postmaster is meant, in lower case."""

    address: str
    hosts: Collection[str]

    def takes(self, mailbox: Mailbox) -> bool:
        """Return whether the operator is written to."""
        return mailbox.local.lower() in _NAMES and mailbox.domain in self.hosts

    def make_submission(
        self, raw: bytes, *, client: Client, subject: str, received: float, expires: float
    ) -> Submission:
        """Return what passes the mail on. Times are Unix seconds."""
        return Submission(
            id=new_id(received),
            account=SYSTEM_ACCOUNT,
            credential="postmaster",
            source="smtp",
            received=received,
            envelope="",
            recipients=(Recipient(id=new_id(received), address=self.address),),
            eightbit=not raw.isascii(),
            features=_NO_FEATURES,
            forward_bounces=False,
            list_unsubscribe=False,
            expires=expires,
            client=client,
            subject=subject,
            size=len(raw),
        )
