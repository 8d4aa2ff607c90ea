"""What transforming costs in CPU, without broker and database: `python -m bench.transform_cpu`.

Prints one JSON line per row: a 10 kB HTML mail with everything on and everything off, and one
30 kB mail to 1,000 recipients, in milliseconds per recipient. The first row is the RSA operation
alone, as a measure of the machine: two runs are best compared by the multiple of it.
"""

import json
import quopri
import time
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from bench.mails import Kind, mail_maker
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.submission import Client, Recipient, Submission
from postroad_common.tokens import Keyring, LinkSigner
from postroad_transformer.composing import parts, rewrite
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.composing.outbound import Envelopes, groups
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import make_template
from postroad_transformer.css import inlining
from postroad_transformer.signing.keys import SigningKey

_MAILS = 20  # of a mailing, in one round
BASE = "https://track.example.com"
KEYRING = Keyring(["the secret of this measurement"])
ON = Features(
    inlinecss=True, clicktracking=True, openstracking=True, preventscam=True, bouncetracking=True
)
_HEAD = """<!DOCTYPE html><html><head><meta charset="utf-8"><style type="text/css">
body{margin:0;padding:0;background:#f4f4f4;font-family:Arial,Helvetica,sans-serif}
table{border-collapse:collapse}td{padding:0}h1{font-size:24px;line-height:30px;color:#222}
h2{font-size:18px;color:#333;margin:0 0 8px}p{font-size:14px;line-height:21px;color:#555;margin:0}
a{color:#0066cc;text-decoration:none}.button{background:#0066cc;color:#fff;padding:12px 24px}
.wrapper{width:600px;margin:0 auto}.footer p{font-size:11px;color:#999}.price{font-weight:bold}
@media only screen and (max-width:620px){.wrapper{width:100%!important}}a:hover{color:#c00}
</style></head><body><table class="wrapper" role="presentation" width="600"><tr><td>
<h1>Hello Anna, new arrivals this week</h1></td></tr>"""
_ITEM = """<tr><td class="item" style="padding:20px 0"><table width="100%%"><tr>
<td width="200"><img src="https://img.shop.example.com/products/%d.jpg" width="200" alt="Shoe"></td>
<td valign="top"><h2>Running shoe number %d</h2><p>Light and comfortable, made for long distances
on the road, with a sole that keeps its shape for a thousand kilometres and more.</p>
<p class="price">&euro; %d,95 &nbsp; <s>&euro; 129,95</s></p><p><a class="button"
href="https://shop.example.com/p/%d?utm_source=mail&amp;utm_campaign=week47">Look at it</a></p>
</td></tr></table></td></tr>"""
_TAIL = """<tr><td class="footer"><p>You get this mail because you asked for it.
<a href="https://shop.example.com/unsubscribe?u=77" data-track="off">Unsubscribe</a>, or go to
<a href="https://www.shop.example.com">www.shop.example.com</a>.</p></td></tr></table></body></html>
"""


def mail(size: int) -> bytes:
    """Return a newsletter of about `size` octets: text and quoted-printable HTML."""
    items = ""
    number = 0
    while len(_HEAD) + len(items) + len(_TAIL) < size * 0.88:
        number += 1
        items += _ITEM % (number, number, 50 + number, number)
    html = quopri.encodestring((_HEAD + items + _TAIL).encode()).replace(b"\n", b"\r\n")
    head = (
        b"From: Shop <news@example.com>\r\nTo: anna@destination.test\r\nSubject: New arrivals\r\n"
        b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=part\r\n\r\n"
        b"--part\r\nContent-Type: text/plain\r\n\r\nNew arrivals at https://shop.example.com\r\n"
        b"--part\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    return head + html + b"\r\n--part--\r\n"


def frame(raw: bytes, features: Features, recipients: int) -> bytes:
    """Return the frame of a submission, as an ingress publishes it."""
    now = time.time()
    submission = Submission(
        id=new_id(), account="main", credential="login", source="smtp", received=now,
        envelope="news@example.com",
        recipients=tuple(
            Recipient(id=new_id(), address=f"r{n}@destination.test") for n in range(recipients)
        ),
        features=features, expires=now + 86400, subject="New arrivals", size=len(raw),
        client=Client(ip="192.0.2.1", helo="app.example.com"),
    )  # fmt: skip
    return encode(submission, raw)


def transformed(octets: bytes, key: SigningKey | None) -> Iterator[tuple[str, bytes]]:
    """Return the outbound frames: the handler's work without broker, database and events."""
    submission, body = decode(Submission, octets)
    rules = Rules(HeaderRules("mail.example.net"), BASE)
    made = make_template(bytes(body), submission, rules)
    keys = () if key is None else (key,)
    composer = Composer(made, LinkSigner(KEYRING, BASE), keys, submission.received)
    bounces = BounceAddresses(KEYRING, "bounce.example.net")
    envelopes = Envelopes(submission, composer, bounces, None)
    for group in groups(submission, submission.recipients, personal=made.is_personal):
        yield envelopes.frame(group, composer.content(group[0].id))


def measure(name: str, octets: bytes, key: SigningKey | None, *, again: bool = False) -> None:
    """Print the best round of some seconds, because other work on the machine only ever adds.

    Without `again` nothing is remembered from the round before.
    """
    best = 1e9
    size = count = 0
    deadline = time.perf_counter() + 2.0
    while time.perf_counter() < deadline:
        if not again:
            parts._rewritten.clear()  # noqa: SLF001 - measures without it
            inlining._answers.clear()  # noqa: SLF001 - the same
            inlining._merge.cache_clear()  # noqa: SLF001 - the same
            rewrite._layouts._families.clear()  # noqa: SLF001 - the same
        started = time.perf_counter()
        count = 0
        for _, made in transformed(octets, key):
            size = len(made)
            count += 1
        best = min(best, (time.perf_counter() - started) / count)
    row = {"row": name, "ms": round(best * 1000, 3), "in": len(octets), "out": size}
    print(json.dumps(row))


def measure_mailing(name: str, features: Features) -> None:
    """Print the best round of mails of one mailing, each with words and links of its own."""
    make = mail_maker(Kind.HTML)
    best = 1e9
    number = size = 0
    deadline = time.perf_counter() + 2.0
    while time.perf_counter() < deadline:
        frames = [frame(make(number + at).wire, features, 1) for at in range(_MAILS)]
        number += _MAILS
        started = time.process_time()
        for octets in frames:
            for _, made in transformed(octets, None):
                size = len(made)
        best = min(best, (time.process_time() - started) / _MAILS)
    row = {"row": name, "ms": round(best * 1000, 3), "in": len(frames[-1]), "out": size}
    print(json.dumps(row))


def measure_signing(key: SigningKey) -> None:
    """Print what one RSA operation takes."""
    best = 1e9
    for _ in range(1000):
        started = time.perf_counter()
        key.sign(bytes(32))
        best = min(best, time.perf_counter() - started)
    print(json.dumps({"row": "RSA-2048 alone", "ms": round(best * 1000, 3)}))


def main() -> None:
    """All rows."""
    key = SigningKey("example.com", "s1", generate_private_key(65537, 2048))
    small, large = mail(10_000), mail(30_000)
    on, off = frame(small, ON, 1), frame(small, Features(), 1)
    no_css = frame(small, ON.overridden({"inlinecss": False}), 1)
    many = frame(large, ON, 1000)
    measure_signing(key)
    measure("10 kB, all on, RSA", on, key)
    measure("10 kB, all on, unsigned", on, None)
    measure("10 kB, all on but CSS, RSA", no_css, key)
    measure("10 kB, all off, RSA", off, key)
    measure("10 kB, all off, unsigned", off, None)
    measure("10 kB, all on, RSA, the same HTML again", on, key, again=True)
    measure_mailing("10 kB, all on, unsigned, a mailing", ON)
    measure("30 kB to 1,000, all on, RSA, per recipient", many, key)
    measure("30 kB to 1,000, all on, unsigned, per recipient", many, None)


if __name__ == "__main__":
    main()
