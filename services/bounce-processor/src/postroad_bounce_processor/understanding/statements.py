"""What was said about one recipient, in the order of trust, and the one that decides.

The receiver's own answer is worth more than the words of the server that reports it, and words
that mean one thing are worth more than general ones, or than numbers alone. The first statement
whose words mean one thing decides; if there is none, the first of those that weigh most.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from postroad_bounce_processor.understanding.passages import Passage, find_passage, own_words
from postroad_bounce_processor.understanding.report import (
    RecipientReport,
    collapse,
    enhanced_status,
    human_text,
    reply_code,
)
from postroad_bounce_processor.understanding.transcript import find_exchange, stage_in
from postroad_common.classification.classifier import Classifier, ClassVerdict
from postroad_common.classification.rule import GENERAL, STRONG
from postroad_common.mail.classification import Classification
from postroad_common.mail.decoding import decode_words
from postroad_common.mail.mime import Part

_PERMANENT_REPLY = 550
# Amazon's incoming mail is accepted first; the rules of its user answer later.
_AFTER_DATA = re.compile(r"inbound-smtp\.[a-z0-9-]{1,40}\.amazonaws\.com")
# Mobile networks of Japan say "user unknown" to the data, too, for what their customers filter.
_MOBILE = re.compile(
    r"[@.](?:docomo|ezweb|auone-net|softbank|vodafone|disney|disneymobile|willcom|pdx|emnet|emobile"
    r"|mineo|uqmobile|ymobile1?|jp-[a-z])\.(?:ne\.)?jp$|[@.](?:au\.com|i\.softbank\.jp)$",
    re.IGNORECASE,
)
# The mobile networks that AOL's software runs say in front what is wrong with all that follow.
_PREAMBLE = re.compile(r"the user\(s\) account is [^.\n]{1,80}", re.IGNORECASE)
# IronPort puts the receiver's answer in quotes: 5.1.0 - Unknown address error 550-'no such user'
_QUOTED_REPLY = re.compile(r"\b([245]\d\d)-'(.{1,1500})'")
# Zoho calls every address invalid: Invalid Address, ERROR_CODE :550, ERROR_CODE :5.2.2 full
_NUMBERED_REPLY = re.compile(r"ERROR_CODE :([245]\d\d), ERROR_CODE :(.{1,1500})")
# Where the reporting server comes to what the receiver said, and where it goes on itself.
_REPLY_IN_TEXT = re.compile(r"(?<![\w.#])[45]\d\d[ -]")
_INTRODUCED = (":", ";", "'", "[", ">", "\n")
_AFTER_REPLY = re.compile(
    r"\s(?:giving up on|i'm not going to try again)|\]\. the following|'$", re.IGNORECASE
)
# Subjects of servers that say the reason there; others quote the subject of the returned mail.
_TELLING_SUBJECT = re.compile(r"(?:returned mail|delivery failure)\s?: (.{1,200})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    """Some words about one recipient, and the numbers with them."""

    text: str
    code: int | None
    enhanced: str
    stage: str
    sound: bool
    """They are about this recipient beyond doubt."""
    aside: bool = False
    """They stand outside the paragraph of the address, whose numbers outweigh general words."""


def decide(statements: Iterable[Statement], rules: Classifier) -> tuple[ClassVerdict, Statement]:
    """Return the verdict, and the statement it rests on; statements are made as they are needed."""
    best: tuple[ClassVerdict, Statement] | None = None
    for statement in statements:
        verdict = rules.classify(
            statement.code, statement.enhanced, statement.text, statement.stage
        )
        least = 0 if best is None else best[0].weight
        if least and statement.aside:
            least = max(least, GENERAL)
        if best is None or verdict.weight > least:
            best = verdict, statement
        if verdict.weight >= STRONG:
            break
    if best is None:
        nothing = Statement("", None, "", "", sound=False)
        return rules.classify(None, "", ""), nothing
    return best


def of_report(
    mail: Part, block: RecipientReport, reporting_host: str, expected: str, rules: Classifier
) -> tuple[ClassVerdict, Statement]:
    """Return what the report of a host says about the recipient of one of its blocks."""
    first = _diagnostic(block)
    verdict, statement = decide(_of_block(mail, block, first, expected), rules)
    if verdict.classification is Classification.NO_SUCH_USER and not statement.stage:
        # Was it the answer to RCPT? Only the text for people may say so.
        address = block.final_recipient or expected
        stage = _stage_of(mail, address, reporting_host, statement.enhanced)
        if stage:
            statement = replace(statement, stage=stage)
            verdict = rules.classify(statement.code, statement.enhanced, statement.text, stage)
    return verdict, statement


def of_text(mail: Part, passage: Passage, words: str, *, delayed: bool) -> Iterator[Statement]:
    """Yield what a text for people says about the address of a passage."""
    assumed = None if delayed else _PERMANENT_REPLY
    exchange = find_exchange(words, passage.address) if passage.address else None
    if exchange is not None:
        text = exchange.reply or exchange.summary
        yield _stated(text, assumed, exchange.stage, sound=passage.expected)
        return
    unsaid = "data" if _MOBILE.search(passage.address) else ""
    preamble = _PREAMBLE.search(words)
    if preamble is not None:
        yield _stated(preamble[0], assumed, "", sound=passage.expected)
    stage = stage_in(passage.text) or unsaid
    reply = _reply_in(passage.text)
    if reply:
        yield _stated(reply, assumed, stage, sound=passage.expected)
    yield _stated(passage.text, assumed, stage, sound=passage.expected)
    if passage.rest:
        text = f"{passage.text} {passage.rest}"
        sound = passage.expected and passage.alone
        rest = _stated(text, assumed, stage_in(text) or unsaid, sound=sound)
        yield replace(rest, aside=True)
    if passage.before:
        # Where nobody else is named and a reply is quoted, the reply is about this recipient.
        alone = passage.alone and reply_code(passage.before) is not None
        reply = _reply_in(passage.before)
        if reply:
            yield _stated(reply, assumed, "", sound=passage.expected and alone)
        before = _stated(passage.before, assumed, "", sound=passage.expected and alone)
        yield replace(before, aside=True)
    subject = _telling_subject(mail)
    if subject:
        yield _stated(subject, assumed, "", sound=False)


def _of_block(
    mail: Part, block: RecipientReport, first: Statement, expected: str
) -> Iterator[Statement]:
    if b"user(s) account is" in mail.raw:
        preamble = _PREAMBLE.search(human_text(mail))
        if preamble is not None:
            yield _with_numbers(preamble[0], block, first.stage)
    yield first
    named = block.final_recipient or expected
    words = own_words(human_text(mail))
    exchange = find_exchange(words, named) if named else None
    if exchange is not None:
        yield _with_numbers(exchange.reply or exchange.summary, block, exchange.stage)
    if block.comment:
        yield _with_numbers(block.comment, block, first.stage)
    passage = find_passage(words, "", expected) or find_passage(words, "", named)
    if passage is not None:
        yield _with_numbers(passage.text, block, stage_in(passage.text))
        if passage.rest:
            yield _with_numbers(passage.rest, block, "")
    subject = _telling_subject(mail)
    if subject:
        yield replace(_with_numbers(subject, block, ""), sound=False)


def _diagnostic(block: RecipientReport) -> Statement:
    text = block.diagnostic
    words = _receivers_words(text)
    if words == text:
        return Statement(text, block.code, block.status, stage_in(text), sound=True)
    return Statement(
        words, reply_code(words), enhanced_status(words) or block.status, stage_in(text), sound=True
    )


def _with_numbers(text: str, block: RecipientReport, stage: str) -> Statement:
    """Return a statement whose numbers are its own, or else those of the report."""
    line = _receivers_words(collapse(text))
    return Statement(
        line,
        reply_code(line) or block.code,
        enhanced_status(line) or block.status,
        stage,
        sound=True,
    )


def _receivers_words(text: str) -> str:
    """Return the quoted answer of the receiver where the reporting server quotes it."""
    quoted = _QUOTED_REPLY.search(text) or _NUMBERED_REPLY.search(text)
    return f"{quoted[1]} {quoted[2]}" if quoted else text


def _reply_in(text: str) -> str:
    """Return the receiver's reply of a passage, without what is said around it; empty if none."""
    start = _REPLY_IN_TEXT.search(text)
    if start is None or not text[: start.start()].rstrip(" \t").endswith(_INTRODUCED):
        return ""
    reply = collapse(text[start.start() :])
    end = _AFTER_REPLY.search(reply)
    return reply[: end.start()] if end else reply


def _stated(text: str, assumed: int | None, stage: str, *, sound: bool) -> Statement:
    line = _receivers_words(collapse(text))
    enhanced, code = enhanced_status(line), reply_code(line)
    if code is None and not enhanced:
        code = assumed
    return Statement(line, code, enhanced, stage, sound)


def _stage_of(mail: Part, address: str, reporting_host: str, status: str) -> str:
    if _AFTER_DATA.fullmatch(reporting_host.lower()):
        return "data"
    if _MOBILE.search(address) and not status.startswith("5.1."):
        return "data"
    words = own_words(human_text(mail))
    exchange = find_exchange(words, address)
    if exchange is not None and exchange.stage:
        return exchange.stage
    passage = find_passage(words, "", address)
    return stage_in(passage.text) if passage is not None else ""


def _telling_subject(mail: Part) -> str:
    match = _TELLING_SUBJECT.match(decode_words(mail.headers.get("subject"))[:300])
    return match[1] if match else ""
