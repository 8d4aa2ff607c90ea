"""A storm of returned mail: the returns, the messages that they answer, and how they come.

They are mails of the corpus that the bounce-processor is tested with, mixed as `_MIX` says.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

from postroad_common.broker.publisher import Publisher
from postroad_common.broker.topology import RETURNS
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, accepted
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import encode
from postroad_common.schemas.returns import Return
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.database import Database

_CORPUS = Path(__file__).parent.parent / "services/bounce-processor/tests/data"
_RECIPIENT = b"kim@example.net"  # of every mail of the corpus
_MIX = {
    "postfix-user-unknown": 20,
    "exchange-online-not-found": 12,
    "google-no-such-user": 12,
    "exchange-online-full": 8,
    "outlook-com-blocked": 6,
    "postfix-delayed": 4,
    "exim-plain-unknown-user": 8,
    "qmail-no-mailbox": 5,
    "mimecast": 3,
    "complaint-abuse": 6,
    "outlook-out-of-office": 10,
    "german-vacation": 3,
    "person-writes-back": 2,
    "unknown-language": 1,
}
"""How many of a hundred returns are which mail."""

_BLOCK = 250


class Storm:
    """The returns, and the messages that they answer."""

    def __init__(self, *, size: int, senders: int, forward: bool) -> None:
        self._now = time.time()
        self._ids = [new_id(self._now) for _ in range(size)]
        self._senders = senders
        self._forward = forward
        mails = {name: (_CORPUS / f"{name}.eml").read_bytes() for name in _MIX}
        self._mails = [mails[name] for name, share in _MIX.items() for _ in range(share)]
        random.Random(0).shuffle(self._mails)

    async def prepare(self, database: Database) -> None:
        """Put the messages into the store."""
        for block in self._blocks():
            await database.messages.apply(self.message(number) for number in block)

    async def blow(self, publisher: Publisher, seconds: float) -> None:
        """Put the returns on the queue, evenly within `seconds`."""
        began = time.monotonic()
        for block in self._blocks():
            due = began + seconds * block[0] / len(self._ids)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await publisher.publish_many(("", RETURNS.name, self.frame(n)) for n in block)

    def _blocks(self) -> Iterator[range]:
        size = len(self._ids)
        return (range(first, min(size, first + _BLOCK)) for first in range(0, size, _BLOCK))

    def message(self, number: int) -> Event:
        """Return the acceptance of the message that this mail is about."""
        recipient = Recipient(id=self._ids[number], address=f"r{number}@storm.test")
        submission = Submission(
            id=self._ids[number],
            account="main",
            credential="bench",
            source="smtp",
            received=self._now,
            envelope=f"s{number % self._senders}@storm.test",
            recipients=(recipient,),
            features=Features(bouncetracking=True),
            forward_bounces=self._forward,
            expires=self._now + 3600,
            size=1000,
        )
        return accepted(submission, recipient)

    def frame(self, number: int) -> bytes:
        """Return this mail as it is put on the queue."""
        mail = self._mails[number % len(self._mails)]
        raw = mail.replace(_RECIPIENT, b"r%d@storm.test" % number)
        returned = Return(
            id=new_id(),
            received=time.time(),
            mail_from="",
            recipient=f"b{self._ids[number]}@bounces.postroad.test",
            message_id=self._ids[number],
            size=len(raw),
        )
        return encode(returned, raw)
