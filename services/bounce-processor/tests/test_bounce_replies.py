"""Replies of the world that no rule was written for, and mails of rarer shapes with them inside.

`replies-by-reason.tsv` has two columns: the reason by a person's reading (`reasons.toml` says
which classes are right for it), and the reply. Two thirds come from the help pages, source texts
and logs of providers and mail servers, the others paraphrase such replies, in many languages. They
were all labelled before the rules saw them, so only shares are required here, not each one.
"""

import csv
import random
import re
import tomllib
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from postroad_bounce_processor.understanding.record import ReturnKind
from postroad_bounce_processor.understanding.report import enhanced_status, reply_code
from postroad_bounce_processor.understanding.transcript import stage_in
from postroad_bounce_processor.understanding.understand import understand
from postroad_common.classification.classifier import built_in
from postroad_common.mail.classification import Classification
from postroad_common.mail.mime import read

DATA = Path(__file__).parent / "data"
SHAPES = sorted((DATA / "shapes").glob("*.txt"))
RECIPIENT = "kim@example.net"
PER_SHAPE = 30


@dataclass(frozen=True)
class Judged:
    """What was made of one reply, and what a person says."""

    text: str
    right: frozenset[str]
    hard: bool
    found_class: str
    found_hard: bool


def _labelled() -> list[tuple[str, frozenset[str], bool]]:
    reasons = tomllib.loads((DATA / "reasons.toml").read_text(encoding="utf-8"))
    with (DATA / "replies-by-reason.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        (text, frozenset(reasons[reason]["classes"].split()), reasons[reason]["hard"])
        for reason, text in rows
    ]


def _judge(text: str, right: frozenset[str], *, hard: bool) -> Judged:
    enhanced, code = enhanced_status(text), reply_code(text)
    code = 550 if code is None and not enhanced else code
    verdict = built_in().classify(code, enhanced, text, stage_in(text) or "rcpt")
    return Judged(text, right, hard, verdict.classification.value, verdict.hard)


def _in_shape(shape: str, text: str) -> bytes:
    """Return the mail of a server that was given this reply."""
    text = re.sub(r"kim@[a-z.]+", RECIPIENT, text)
    mail = shape.replace("@REPLY@", text).replace("@CODE@", text[:3]).replace("@WORDS@", text[4:])
    return mail.replace("@STATUS@", enhanced_status(text) or "5.0.0").encode()


@pytest.fixture(scope="module")
def replies() -> list[Judged]:
    return [_judge(text, right, hard=hard) for text, right, hard in _labelled()]


@pytest.fixture(scope="module")
def mails() -> list[tuple[str, Judged, ReturnKind]]:
    """Each shape with a few of the replies that have a code."""
    replies = [entry for entry in _labelled() if re.match(r"[45]\d\d[ -]", entry[0])]
    random.Random(17).shuffle(replies)
    turn = cycle(replies)
    found = []
    for path in SHAPES:
        shape = path.read_text(encoding="utf-8")
        for text, right, hard in islice(turn, PER_SHAPE):
            mail = understand(read(_in_shape(shape, text)), expected=RECIPIENT)
            judged = Judged(text, right, hard, str(mail.bounce_class or ""), mail.hard)
            found.append((path.stem, judged, mail.kind))
    return found


def _listing(wrong: list[Judged]) -> str:
    return "\n".join(f"{j.found_class} hard={j.found_hard}: {j.text}" for j in wrong)


def test_class_is_right_or_near_for_93_of_100_replies(replies: list[Judged]):
    assert len(replies) > 680
    wrong = [j for j in replies if j.found_class not in j.right]
    assert len(wrong) <= 0.07 * len(replies), _listing(wrong)


def test_hard_and_soft_are_as_labelled_for_97_of_100_replies(replies: list[Judged]):
    wrong = [j for j in replies if j.found_hard != j.hard]
    assert len(wrong) <= 0.03 * len(replies), _listing(wrong)


def test_of_the_replies_called_hard_93_of_100_are_labelled_hard(replies: list[Judged]):
    called = [j for j in replies if j.found_hard]
    wrong = [j for j in called if not j.hard]
    assert len(called) > 100
    assert len(wrong) <= 0.07 * len(called), _listing(wrong)


def test_at_most_2_of_100_replies_are_undetermined(replies: list[Judged]):
    wrong = [j for j in replies if j.found_class == Classification.UNDETERMINED]
    assert len(wrong) <= 0.02 * len(replies), _listing(wrong)


def test_every_shape_is_known_as_a_bounce(mails: list[tuple[str, Judged, ReturnKind]]):
    failures = {ReturnKind.BOUNCE, ReturnKind.DELAYED}
    assert len(mails) == PER_SHAPE * len(SHAPES)
    assert {shape for shape, _, kind in mails if kind not in failures} == set()


def test_class_is_right_or_near_for_93_of_100_mails_of_rarer_shapes(
    mails: list[tuple[str, Judged, ReturnKind]],
):
    wrong = [judged for _, judged, _ in mails if judged.found_class not in judged.right]
    assert len(wrong) <= 0.07 * len(mails), _listing(wrong)


def test_hard_and_soft_are_as_labelled_for_90_of_100_mails_of_rarer_shapes(
    mails: list[tuple[str, Judged, ReturnKind]],
):
    wrong = [judged for _, judged, _ in mails if judged.found_hard != judged.hard]
    assert len(wrong) <= 0.1 * len(mails), _listing(wrong)


def test_of_the_mails_called_hard_92_of_100_are_labelled_hard(
    mails: list[tuple[str, Judged, ReturnKind]],
):
    called = [judged for _, judged, _ in mails if judged.found_hard]
    wrong = [judged for judged in called if not judged.hard]
    assert len(called) > 80
    assert len(wrong) <= 0.08 * len(called), _listing(wrong)


def _read_in(shape: str, reply: str) -> Judged:
    text = (DATA / "shapes" / f"{shape}.txt").read_text(encoding="utf-8")
    mail = understand(read(_in_shape(text, reply)), expected=RECIPIENT)
    return Judged(
        reply, frozenset(), hard=False, found_class=str(mail.bounce_class), found_hard=mail.hard
    )


@pytest.mark.parametrize("shape", ["qmail", "james", "x6", "mcafee", "iplanet", "mailmarshal"])
def test_words_of_the_reporting_server_do_not_outweigh_the_receivers_numbers(shape: str):
    found = _read_in(shape, "550 5.7.1 not today, dear colleague")
    assert (found.found_class, found.found_hard) == ("policy", False)


@pytest.mark.parametrize("shape", ["dragonfly", "haraka", "activehunter", "mailmarshal"])
def test_a_reply_that_begins_with_the_senders_address_is_not_about_another_recipient(shape: str):
    found = _read_in(shape, "553 5.7.1 <a@b.example>: Sender address rejected: not owned by user")
    assert found.found_class == "sender-refused"


def test_the_transcript_of_mdaemon_tells_that_rcpt_was_refused():
    assert _read_in("mdaemon", "550 no mailbox by that name").found_hard
