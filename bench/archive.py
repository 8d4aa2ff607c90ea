"""What keeping the content of a mail costs in CPU: `python -m bench.archive`.

Archives 4,000 different mails of 10 kB with all features, both versions of each, handed in by as
many tasks at once as the transformer has submissions in work, into a MongoDB of its own. Prints one
JSON line: milliseconds of processor time per mail, of this process and of mongod, and their sum as
a multiple of one RSA-2048 signature, as a measure of the machine. Postfix relays such a mail for
some 5.6 signatures, so a tenth of Postfix is 0.56.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from bench.mails import Kind, mail_maker
from bench.transform_cpu import BASE, KEYRING, ON
from postroad_common.broker import BrokerLink, Publisher
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.database import Database
from postroad_common.tokens import LinkSigner
from postroad_stack.stack import Stack
from postroad_transformer.archive import ArchiveWriter
from postroad_transformer.composing.composer import ComposedContent, Composer
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.composing.outbound import Group
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import make_template
from postroad_transformer.signing.keys import SigningKey

MAILS = 4000
AT_ONCE = 128  # four handlers with 32 submissions each
WARM_UP = 400

Mail = tuple[Submission, bytes, Composer, Group, ComposedContent]


def main() -> None:
    """Start the database, archive, print."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack.start(Path(folder) / "state", only=("rabbitmq", "mongod")) as stack,
    ):
        row = asyncio.run(_measure(stack))
        stack.stop(wipe=True)
    print(json.dumps(row))


async def _measure(stack: Stack) -> dict[str, float]:
    key = SigningKey("example.com", "s1", generate_private_key(65537, 2048))
    mails = [_transformed(number, key) for number in range(MAILS)]
    database = Database(stack.document.mongodb)
    await database.prepare()
    archive = ArchiveWriter(
        Publisher(BrokerLink(stack.document.amqp, "bench")),
        database.archive,
        database.bodies,
        days=7,
    )
    mongod = psutil.Process(stack.document.pids["mongod"][0])
    await _keep(archive, mails[:WARM_UP])
    own, theirs = time.process_time(), _used(mongod)
    await _keep(archive, mails)
    own, theirs = time.process_time() - own, _used(mongod) - theirs
    await archive.close()
    await database.close()
    signature = _signature_seconds(key)
    return {
        "archive_ms": round(own / MAILS * 1000, 4),
        "mongod_ms": round(theirs / MAILS * 1000, 4),
        "signature_ms": round(signature * 1000, 4),
        "signatures": round((own + theirs) / MAILS / signature, 3),
    }


async def _keep(archive: ArchiveWriter, mails: Sequence[Mail]) -> None:
    """Hand in all, `AT_ONCE` at a time."""
    todo = iter(mails)

    async def work() -> None:
        for submission, raw, composer, group, content in todo:
            entry = archive.entry(submission, raw)
            assert entry is not None  # noqa: S101 - the archive is on
            entry.begin(composer, None)
            entry.add(group, content)
            await archive.keep(entry)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def _transformed(number: int, key: SigningKey) -> Mail:
    """Return what the transformer has in hand of a mail when it has made it."""
    raw = mail_maker(Kind.HTML)(number).wire[:-3].replace(b"\r\n..", b"\r\n.")
    now = time.time()
    recipient = Recipient(id=new_id(now), address="reader@destination.test")
    submission = Submission(
        id=new_id(now), account="main", credential="login", source="smtp", received=now,
        envelope="a@b.test", recipients=(recipient,), features=ON, expires=now + 86_400,
        size=len(raw),
    )  # fmt: skip
    template = make_template(raw, submission, Rules(HeaderRules("mail.example.net"), BASE))
    composer = Composer(template, LinkSigner(KEYRING, BASE), [key], now)
    return submission, raw, composer, (recipient,), composer.content(recipient.id)


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _signature_seconds(key: SigningKey) -> float:
    """Return the processor time of one RSA operation."""
    count = 1000
    started = time.process_time()
    for _ in range(count):
        key.sign(bytes(32))
    return (time.process_time() - started) / count


if __name__ == "__main__":
    main()
