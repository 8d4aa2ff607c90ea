"""Understands one returned mail: asks each reader in turn, from the surest to the least sure.

    delivery report > complaint > declared reply > known format > automatic reply > words > fallback

The order is the safety: a mail that declares itself a reply never gets near the readers that look
for words. And evidence decides what may follow from it: only a report or a known format that
speaks of the very address can make a bounce `hard`, because suppressing an address that works is
worse than sending once more to one that does not.
"""

from dataclasses import dataclass, replace

from postroad_bounce_processor.understanding.autoreply import declares_itself, find_reply
from postroad_bounce_processor.understanding.complaint import Complaint, find_complaint
from postroad_bounce_processor.understanding.fallback import ask_fallback
from postroad_bounce_processor.understanding.formats import (
    find_format,
    sent_by_a_daemon,
    subject_of_delay,
    subject_of_failure,
)
from postroad_bounce_processor.understanding.notification import find_notification
from postroad_bounce_processor.understanding.passages import (
    Passage,
    addresses_in,
    find_passage,
    nameless_passage,
    own_words,
)
from postroad_bounce_processor.understanding.record import RecordSource, ReturnKind, Understanding
from postroad_bounce_processor.understanding.report import (
    RecipientReport,
    Report,
    collapse,
    find_loose_report,
    find_report,
    human_text,
    reply_code,
)
from postroad_bounce_processor.understanding.statements import decide, of_report, of_text
from postroad_common.classification.classifier import Classifier, built_in
from postroad_common.mail.classification import Classification
from postroad_common.mail.mime import Part

_WORST_FIRST = ("failed", "delayed", "", "expanded", "relayed", "delivered")


def understand(
    mail: Part, *, expected: str = "", mail_from: str = "", classifier: Classifier | None = None
) -> Understanding:
    """Return what a returned mail says.

    Args:
        mail: anything at all, as `mime.read` split it. Work is linear in its size, memory bounded.
        expected: the address that the message was sent to, as the bounce address tells.
        mail_from: the envelope sender of the returned mail, empty for the null sender.
        classifier: rules other than the built-in ones.
    """
    rules = classifier or built_in()
    from_a_daemon = sent_by_a_daemon(mail, mail_from)
    notification = find_notification(mail)
    report = notification if isinstance(notification, Report) else find_report(mail)
    if from_a_daemon and (report is None or not report.recipients):
        report = find_loose_report(mail) or report
    if report is not None and report.recipients:
        return _from_report(mail, report, expected, rules)
    complaint = notification if isinstance(notification, Complaint) else find_complaint(mail)
    if complaint is not None:
        return Understanding(
            kind=ReturnKind.COMPLAINT if complaint.unwanted else ReturnKind.RESPONSE,
            source=RecordSource.FEEDBACK,
            confidence=0.95,
            recipient=complaint.recipient,
            reporting_host=complaint.reporting_host,
            detail=complaint.feedback_type or "abuse",
        )
    reply = find_reply(mail)
    if reply:
        return Understanding(ReturnKind.RESPONSE, RecordSource.REPLY, confidence=0.95, detail=reply)
    found = None
    if from_a_daemon:
        found = _from_format(mail, expected, rules)
    if found is None and declares_itself(mail):
        return Understanding(
            ReturnKind.RESPONSE, RecordSource.REPLY, confidence=0.9, detail="automatic"
        )
    if found is None and from_a_daemon:
        found = (
            _from_words(mail, report, expected, rules)
            or _from_fallback(mail, expected, rules)
            or _from_subject(mail, report)
        )
    return found or Understanding(ReturnKind.UNKNOWN, RecordSource.NOTHING, confidence=0.0)


def same_mailbox(one: str, other: str) -> bool:
    """Tell whether two spellings are the same mailbox.

    Letter case and a `+tag` do not count, and one domain may lie within the other: receivers
    report the name of their inner domain.
    """
    local, _, domain = one.lower().rpartition("@")
    other_local, _, other_domain = other.lower().rpartition("@")
    if not local or local.partition("+")[0] != other_local.partition("+")[0]:
        return False
    return (
        domain == other_domain
        or domain.endswith(f".{other_domain}")
        or other_domain.endswith(f".{domain}")
    )


def _from_report(mail: Part, report: Report, expected: str, rules: Classifier) -> Understanding:
    block = _concerned(report.recipients, expected)
    named = block.final_recipient or block.original_recipient
    ours = not expected or (
        same_mailbox(named, expected)
        if named
        else all(same_mailbox(found, expected) for found in addresses_in(block.diagnostic))
    )
    verdict, statement = of_report(mail, block, report.reporting_mta, expected, rules)
    common = {
        "source": RecordSource.REPORT,
        "confidence": 0.95 if ours and named else 0.8,
        "recipient": named,
        "code": statement.code,
        "enhanced": statement.enhanced,
        "diagnostic": block.diagnostic or statement.text,
        "reporting_host": report.reporting_mta,
        "remote_host": block.remote_mta,
        "standard": True,
    }
    if block.action in {"delivered", "relayed", "expanded"}:
        return Understanding(kind=ReturnKind.SUCCESS, detail=block.action, **common)  # type: ignore[arg-type]
    kind = ReturnKind.DELAYED if block.action == "delayed" else ReturnKind.BOUNCE
    return Understanding(
        kind=kind,
        bounce_class=verdict.classification,
        hard=kind is ReturnKind.BOUNCE and verdict.hard and ours and statement.sound,
        **common,  # type: ignore[arg-type]
    )


def _concerned(blocks: tuple[RecipientReport, ...], expected: str) -> RecipientReport:
    """Return the block about our recipient, or the worst one."""
    wanted = expected.lower()
    for match in (
        lambda block: block.final_recipient.lower() == wanted,
        lambda block: block.original_recipient.lower() == wanted,
        lambda block: same_mailbox(block.final_recipient, expected),
    ):
        ours = [block for block in blocks if wanted and match(block)]
        if ours:
            return min(ours, key=_badness)
    return min(blocks, key=_badness)


def _badness(block: RecipientReport) -> int:
    return _WORST_FIRST.index(block.action)


def _from_format(mail: Part, expected: str, rules: Classifier) -> Understanding | None:
    """Read a text in a known format that names an address."""
    words = own_words(human_text(mail))
    known = find_format(mail, words)
    failed = _failed_recipient(mail, expected)
    if known is None and not failed:
        return None
    passage = find_passage(words, failed, expected) or nameless_passage(words)
    delayed = known is not None and known.delayed
    found = _bounce(mail, passage, words, rules, _Reading(RecordSource.FORMAT, 0.85, delayed))
    if known is not None and known.classification is not None:
        return replace(found, bounce_class=known.classification, hard=False)
    return found


def _failed_recipient(mail: Part, expected: str) -> str:
    """Return the address of X-Failed-Recipients, ours if it is among them."""
    listed = mail.headers.get("x-failed-recipients")[:4000].split(",")
    addresses = [address.strip().strip("<>") for address in listed]
    ours = (address for address in addresses if address.lower() == expected.lower())
    return next(ours, addresses[0])


def _from_words(
    mail: Part, report: Report | None, expected: str, rules: Classifier
) -> Understanding | None:
    """Read a text that looks like a bounce: known words of failure around an address.

    Its subject must be one that announces failures, or it declares itself a report (whose status
    part got lost).
    """
    if report is None and not subject_of_failure(mail):
        return None
    words = own_words(human_text(mail))
    passage = find_passage(words, "", expected) or nameless_passage(words)
    delayed = subject_of_delay(mail)
    found = _bounce(mail, passage, words, rules, _Reading(RecordSource.WORDS, 0.6, delayed))
    return (
        found
        if found.bounce_class is not Classification.UNDETERMINED or found.code or found.enhanced
        else None
    )


def _from_subject(mail: Part, report: Report | None) -> Understanding | None:
    """Take the subject (or the declared type) for a bounce whose language is not known."""
    if report is None and not subject_of_failure(mail):
        return None
    return Understanding(
        kind=ReturnKind.DELAYED if subject_of_delay(mail) else ReturnKind.BOUNCE,
        source=RecordSource.WORDS,
        confidence=0.3,
        bounce_class=Classification.UNDETERMINED,
        diagnostic=collapse(own_words(human_text(mail))[:500]),
    )


def _from_fallback(mail: Part, expected: str, rules: Classifier) -> Understanding | None:
    """Ask flufl.bounce for an address; the class comes from the words around it."""
    temporary, permanent = ask_fallback(mail.raw)
    named = temporary | permanent
    if not named:
        return None
    address = expected if expected.lower() in named else min(permanent or temporary)
    words = own_words(human_text(mail))
    passage = find_passage(words, address, expected) or Passage(
        address, address.lower() == expected.lower(), words[:1000], ""
    )
    return _bounce(mail, passage, words, rules, _Reading(RecordSource.FALLBACK, 0.5, not permanent))


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a text is read: by whom, how surely, and as what."""

    source: RecordSource
    confidence: float
    delayed: bool


def _bounce(
    mail: Part, passage: Passage, words: str, rules: Classifier, how: _Reading
) -> Understanding:
    verdict, statement = decide(of_text(mail, passage, words, delayed=how.delayed), rules)
    sound = how.source is RecordSource.FORMAT and statement.sound
    return Understanding(
        kind=ReturnKind.DELAYED if how.delayed else ReturnKind.BOUNCE,
        source=how.source,
        confidence=how.confidence if passage.expected else how.confidence - 0.2,
        recipient=passage.address,
        bounce_class=verdict.classification,
        hard=sound and not how.delayed and verdict.hard,
        code=reply_code(statement.text),
        enhanced=statement.enhanced,
        diagnostic=statement.text,
    )
