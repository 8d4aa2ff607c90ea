"""What goes to a server that does not offer 8BITMIME, of a message that is not in 7 bits.

Reports and returns that Postroad writes or passes on are converted. So is mail, except where that
would break its signature (DKIM, S/MIME, PGP): servers that do not offer 8BITMIME take 8-bit octets
all the same nowadays, and mail whose signature does not hold is often refused. The same holds where
SMTPUTF8 is not offered, for mail with addresses in ASCII that was declared with it nevertheless.
"""

import asyncio
from dataclasses import replace

from postroad_sender.delivery.body import Pieces
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.sevenbit import to_seven_bit
from postroad_smtp.client.commands import Envelope
from postroad_smtp.client.session import ClientSession

_DOWNGRADED = b"\nDowngraded-"  # an address in the header that cannot be said in ASCII
_SIGNED = (b"\ndkim-signature:", b"multipart/signed", b"multipart/encrypted", b"/pkcs7-mime")


async def fitted(
    session: ClientSession, job: Job, envelope: Envelope, pieces: Pieces
) -> tuple[Envelope, Pieces]:
    """Return `envelope` and `pieces` as they go out through `session`."""
    offered = session.capabilities
    must = envelope.eightbit and not offered.eightbitmime
    if envelope.smtputf8 and not offered.smtputf8 and _is_ascii(envelope):
        # Some clients ask for SMTPUTF8 whatever the mail. What needs it is refused in `transact`.
        header = to_seven_bit(_header_of(job.body))
        if _DOWNGRADED not in b"\n" + header:
            envelope = replace(envelope, smtputf8=False)
            must = must or not _header_of(job.body).isascii()
    if not must or (job.message.kind == "mail" and is_signed(job.body)):
        return envelope, pieces
    raw = await asyncio.to_thread(_converted, pieces)
    return replace(envelope, eightbit=False, size=len(raw)), (raw,)


def is_signed(message: bytes | memoryview) -> bool:
    """Whether the header says that the content must stay as it is."""
    head = b"\n" + _header_of(message).lower()
    return any(sign in head for sign in _SIGNED)


def _is_ascii(envelope: Envelope) -> bool:
    recipients = (recipient.address for recipient in envelope.recipients)
    return envelope.sender.isascii() and all(map(str.isascii, recipients))


def _header_of(message: bytes | memoryview) -> bytes:
    return bytes(message).partition(b"\r\n\r\n")[0]


def _converted(pieces: Pieces) -> bytes:
    return to_seven_bit(b"".join(pieces))
