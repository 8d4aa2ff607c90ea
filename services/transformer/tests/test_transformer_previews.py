"""Previews: what they say of a mail agrees with what is done to it, and nothing of them works."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.preview import MailChange, PreviewAnswer
from postroad_common.schemas.submission import Submission
from postroad_common.store.database import Database
from postroad_common.tokens import Keyring, LinkSigner
from postroad_testing.waiting import PATIENCE
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.composing.rules import Rules
from postroad_transformer.lookups.signing_keys import SigningKeys
from postroad_transformer.previews.preview import Previewer
from postroad_transformer.publishing import PublishingPolicy
from postroad_transformer.workers.pool import HtmlBounds, WorkerPool

BASE = "https://track.example.com"
KEYRING = Keyring(["a secret of sufficient length"])
LINKS = LinkSigner(KEYRING, BASE)
BOUNCES = BounceAddresses(KEYRING, "bounce.example.net", 1e10)
HTML = (
    "<style>p{color:red}</style><p>Hello</p>"
    '<a href="http://a.test/x">Go</a> <a href="http://b.test/">b.test</a> '
    '<a href="http://c.test/" data-track="off">c</a> <a href="http://d.test/">unsubscribe</a>'
    '<img src="http://e.test/i.png" srcset="x 2x"><img src="http://f.test/i.png" data-track="off">'
)
RAW = (
    "From: Shop <shop@news.example.com>\r\nTo: r@d.test\r\nBcc: secret@d.test\r\nSubject: Hi\r\n"
    f"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{HTML}\r\n"
).encode()


@pytest.fixture
async def previewer(mongodb_uri: str) -> AsyncIterator[Previewer]:
    database = Database(mongodb_uri, patience=PATIENCE)
    workers = WorkerPool(HtmlBounds(processes=1))
    rules = Rules(HeaderRules("mx.example.net", unsubscribe_url=BASE), BASE)
    yield Previewer(
        PublishingPolicy(rules, LINKS, BOUNCES, 4096), SigningKeys(database.domains), workers
    )
    await workers.close()
    await database.close()


async def ask(
    previewer: Previewer, submission: Submission, raw: bytes = RAW
) -> tuple[PreviewAnswer, bytes]:
    answer, body = decode(PreviewAnswer, await previewer.answer(encode(submission, raw)))
    return answer, bytes(body)


def of_kind(answer: PreviewAnswer, kind: str) -> list[MailChange]:
    return [change for change in answer.changes if change.kind == kind]


async def test_each_change_is_listed_with_its_reason_and_stands_so_in_the_mail(
    previewer: Previewer, make_submission: Callable[..., Submission]
):
    answer, mail = await ask(previewer, make_submission(text_from_html=True))
    kinds = Counter(change.kind for change in answer.changes)
    assert kinds == {
        "header_added": 6,
        "header_removed": 1,
        "css": 1,
        "text": 1,
        "link_tracked": 1,
        "link_left": 3,
        "image_tracked": 1,
        "image_left": 1,
        "pixel": 1,
        "envelope": 1,
    }
    assert all(change.reason.endswith(".") for change in answer.changes)
    (link,) = of_kind(answer, "link_tracked")
    assert link.before == "http://a.test/x"
    reasons = {change.before: change.reason for change in of_kind(answer, "link_left")}
    assert "itself an address" in reasons["http://b.test/"]
    assert "data-track" in reasons["http://c.test/"]
    assert "unsubscribe" in reasons["http://d.test/"]
    unfolded = re.sub(rb"=\r\n", b"", mail)
    for kind in ("link_tracked", "image_tracked", "pixel"):
        (change,) = of_kind(answer, kind)
        assert change.after.encode() in unfolded
    for change in of_kind(answer, "header_added"):
        assert change.after
        value = re.search(
            rf"^{change.before}: ([^\r]+(?:\r\n[ \t][^\r]+)*)".encode(), mail, re.MULTILINE
        )
        assert value is not None
        assert " ".join(value[1].decode().split()) == change.after
    assert b"secret@d.test" not in mail


async def test_no_link_and_no_bounce_address_of_a_preview_works(
    previewer: Previewer, make_submission: Callable[..., Submission]
):
    answer, mail = await ask(previewer, make_submission())
    paths = re.findall(rb"https://track\.example\.com(/[^\"'>\s]+)", mail)
    assert len(paths) >= 3  # a link, an image and the pixel; and the one to unsubscribe
    assert [LINKS.read_path(path.decode()) for path in paths] == [None] * len(paths)
    assert answer.envelope.endswith("@bounce.example.net")
    assert BOUNCES.verify(answer.envelope, 1_780_000_000.0).refused == "forged"
    assert b"DKIM-Signature" not in mail


async def test_mail_without_features_keeps_its_envelope_and_its_content(
    previewer: Previewer, make_submission: Callable[..., Submission], everything: Any
):
    off = everything.overridden(dict.fromkeys(type(everything).model_fields, False))
    answer, mail = await ask(previewer, make_submission(features=off))
    assert answer.envelope == "sender@example.com"
    assert mail.endswith(HTML.encode() + b"\r\n")
    assert {change.kind for change in answer.changes} == {"header_added", "header_removed"}


async def test_heavy_mail_is_shown_with_counts_instead_of_a_list(
    previewer: Previewer, make_submission: Callable[..., Submission]
):
    raw = RAW.replace(b"<p>Hello</p>", b'<p><a href="http://a.test/y">y</a></p>' * 1_500)
    answer, mail = await ask(previewer, make_submission(), raw)
    (links,) = of_kind(answer, "link_tracked")
    assert (links.count, links.before) == (1_501, "")
    assert mail.replace(b"=\r\n", b"").count(b"https://track.example.com/c") == 1_501


async def test_what_is_no_question_is_refused(previewer: Previewer):
    answer, body = decode(PreviewAnswer, await previewer.answer(b"what?"))
    assert answer.refused
    assert bytes(body) == b""
