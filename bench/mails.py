"""The mail that is sent: like the real thing, each one different, the same in every run.

A message is made from its number alone, so two runs send the same bytes. It is returned as it goes
over the wire: dot-stuffed, with the final dot.
"""

import base64
import binascii
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from string import Template

SENDER_DOMAIN = "shop.bench.test"
_DOMAINS = 20
_SENDER = f"orders@{SENDER_DOMAIN}"
_DATE = "Fri, 20 Nov 2026 09:00:00 +0000"
_WORDS = """
order parcel week price summer light garden kitchen winter cotton paper coffee morning travel
letter window table bridge market harbour station silver copper quiet bright gentle simple
warm fresh hand made free from every under above with without between before after again
always never often perhaps today tomorrow customer service question answer number delivery
""".split()  # noqa: SIM905 -- a list of that length is no easier to read
_NAMES = ("Anna", "Bob", "Chloé", "David", "Emma", "Gülay", "Hugo", "Inês", "Jan", "Mia", "Noor")
_POOL_BYTES = 512 * 1024
_LINE_BYTES = 57  # of the content in one line of base64
_ATTACHMENT_LINES = 2_560  # 200 kB in lines of 78 octets
_STUFFED = (b"\r\n.", b"\r\n..")
_TEMPLATES = Path(__file__).with_name("templates")
_PAGE = Template((_TEMPLATES / "page.html").read_text())
_ITEM = Template((_TEMPLATES / "item.html").read_text())


class Kind(StrEnum):
    """What a mail is like."""

    TEXT = "text-1k"
    HTML = "html-10k"
    ATTACHMENT = "attach-200k"


@dataclass(frozen=True, slots=True)
class Mail:
    """One message with its envelope; `wire` ends in the final dot."""

    sender: str
    recipient: str
    wire: bytes


def mail_maker(kind: Kind, domains: int = _DOMAINS) -> Callable[[int], Mail]:
    """Return a function from a number to the message of that number.

    The recipients are spread over so many domains.
    """
    match kind:
        case Kind.TEXT:
            return lambda number: _text(number, domains)
        case Kind.HTML:
            return lambda number: _html(number, domains)
        case Kind.ATTACHMENT:
            pool = base64.b64encode(random.Random(0).randbytes(_POOL_BYTES))
            width = _LINE_BYTES * 4 // 3
            lines = [pool[at : at + width] for at in range(0, len(pool) - width, width)]
            return lambda number: _attachment(number, lines, domains)


def number_of(recipient: str) -> int:
    """Return the number of the message to this recipient."""
    return int(recipient.removeprefix("user").partition("@")[0])


def _text(number: int, domains: int) -> Mail:
    dice = random.Random(number)
    body = "\r\n\r\n".join(
        [
            f"Hello {dice.choice(_NAMES)},",
            *(_folded(_sentence(dice, 24)) for _ in range(4)),
            f"https://shop.bench.test/orders/{number}?t={dice.getrandbits(64):016x}",
            "Your shop",
        ]
    )
    return _mail(
        number,
        dice,
        'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit\r\n',
        body.encode(),
        domains,
    )


def _html(number: int, domains: int) -> Mail:
    dice = random.Random(number)
    boundary = f"=_{dice.getrandbits(96):024x}"
    return _mail(
        number,
        dice,
        f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n',
        _alternatives(number, dice, boundary),
        domains,
    )


def _attachment(number: int, lines: list[bytes], domains: int) -> Mail:
    dice = random.Random(number)
    outer, inner = (f"=_{dice.getrandbits(96):024x}" for _ in range(2))
    # Lines of the pool in an order of their own make a file that no other message has.
    first = dice.randrange(len(lines) - _ATTACHMENT_LINES)
    file = b"\r\n".join(lines[first : first + _ATTACHMENT_LINES])
    body = b"".join(
        [
            f"--{outer}\r\n"
            f'Content-Type: multipart/alternative; boundary="{inner}"\r\n\r\n'.encode(),
            _alternatives(number, dice, inner, items=2),
            f"\r\n--{outer}\r\n"
            f'Content-Type: application/pdf; name="invoice-{number}.pdf"\r\n'
            f'Content-Disposition: attachment; filename="invoice-{number}.pdf"\r\n'
            "Content-Transfer-Encoding: base64\r\n\r\n".encode(),
            base64.b64encode(f"{number:057d}".encode()) + b"\r\n",
            file,
            f"\r\n--{outer}--\r\n".encode(),
        ]
    )
    headers = f'Content-Type: multipart/mixed; boundary="{outer}"\r\n'
    return _mail(number, dice, headers, body, domains)


def _mail(
    number: int, dice: random.Random, content_headers: str, body: bytes, domains: int
) -> Mail:
    recipient = f"user{number}@d{number % domains:02d}.bench.test"
    head = (
        f"From: Your shop <{_SENDER}>\r\n"
        f"To: {dice.choice(_NAMES).encode('ascii', 'ignore').decode()} <{recipient}>\r\n"
        f"Subject: Your order {number}: {_sentence(dice, 5)}\r\n"
        f"Date: {_DATE}\r\n"
        f"Message-ID: <{number}.{dice.getrandbits(64):016x}@shop.bench.test>\r\n"
        "MIME-Version: 1.0\r\n"
        f"{content_headers}\r\n"
    )
    wire = (head.encode() + body).replace(*_STUFFED)
    return Mail(_SENDER, recipient, wire + (b".\r\n" if wire.endswith(b"\r\n") else b"\r\n.\r\n"))


def _alternatives(number: int, dice: random.Random, boundary: str, items: int = 11) -> bytes:
    text = "\r\n\r\n".join(_folded(_sentence(dice, 20)) for _ in range(3))
    return b"".join(
        [
            f'--{boundary}\r\nContent-Type: text/plain; charset="utf-8"\r\n'
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n".encode(),
            _quoted(text),
            f'\r\n--{boundary}\r\nContent-Type: text/html; charset="utf-8"\r\n'
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n".encode(),
            _quoted(_page(number, dice, items)),
            f"\r\n--{boundary}--\r\n".encode(),
        ]
    )


def _quoted(text: str) -> bytes:
    encoded = binascii.b2a_qp(text.replace("\r\n", "\n").encode(), istext=True)
    return encoded.replace(b"\n", b"\r\n")


def _page(number: int, dice: random.Random, items: int) -> str:
    return _PAGE.substitute(
        name=dice.choice(_NAMES),
        intro=_sentence(dice, 30),
        order=f"https://shop.bench.test/orders/{number}",
        token=f"{dice.getrandbits(64):016x}",
        items="".join(_item(number, place, dice) for place in range(items)),
        total=f"{dice.randrange(1_000, 90_000) / 100:.2f}",
        news=_sentence(dice, 40),
        number=number,
    )


def _item(number: int, place: int, dice: random.Random) -> str:
    article = dice.randrange(100_000)
    return _ITEM.substitute(
        link=f"https://shop.bench.test/articles/{article}?order={number}&amp;place={place}",
        image=f"https://img.bench.test/{article}/240.jpg",
        title=_sentence(dice, 3),
        words=_sentence(dice, 9),
        price=f"{dice.randrange(100, 9_000) / 100:.2f}",
    )


def _sentence(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(_WORDS, k=words))


def _folded(text: str) -> str:
    words = text.split()
    return "\r\n".join(" ".join(words[at : at + 10]) for at in range(0, len(words), 10))
