"""Which message a provider's complaint is about, and whether that is proven.

What is proven is acted on: the complaint stands in the timeline, is told by webhooks, and the
address that the mail went to is suppressed. Proof is one of

    a signature     the signed bounce address or a signed link of the message is in the complaint:
                    its writer had that very mail before him
    an identifier   that of a submission with one recipient: 60 bits of chance, which stand in that
                    mail and nowhere else
    the secret      the complaint came to an address that only providers were told, and names the
                    recipient and the submission of one message, or the Message-ID that its client
                    gave to one message

Everything else could be written by anybody who has, or guesses, an address; and a complaint at an
account's own address is about that account's mail or about none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from postroad_bounce_processor.understanding.traces import Traces
from postroad_bounce_processor.understanding.understand import same_mailbox
from postroad_common.store.messages import MessageRecord

NOT_FOUND = "it holds no trace of a message of ours"
UNKNOWN = "its message is not in the store"
OTHER_ACCOUNT = "its message is another account's"
NOT_ONE = "it does not tell for which recipient of a submission it speaks"
NOT_PROVEN = "it may be about this message, which anybody could have claimed"


@dataclass(frozen=True, slots=True)
class ReturnMatch:
    """What was found. Without `record` there is a `reason`, and maybe a `candidate`."""

    record: MessageRecord | None = None
    proof: str = ""
    reason: str = ""
    candidate: str = ""


def match(
    traces: Traces,
    records: Mapping[str, MessageRecord],
    submissions: Mapping[str, Sequence[MessageRecord]],
    by_message_id: Mapping[str, Sequence[MessageRecord]],
    *,
    secret: bool,
    account: str,
) -> ReturnMatch:
    """Return the message that a complaint with these traces is about.

    Args:
        traces: of the complaint.
        records: complete records by message id.
        submissions: all records of a submission, by its id.
        by_message_id: those of mail to which its client gave a Message-ID, by that.
        secret: the complaint came to an address that cannot be guessed.
        account: whose own address that is; empty for one of the deployment.
    """
    if traces.signed:
        record = records.get(traces.signed)
        if record is None:
            return ReturnMatch(reason=UNKNOWN, candidate=traces.signed)
        return _of_account(ReturnMatch(record, traces.signed_by), account)
    candidates = [record for key in traces.submissions for record in submissions.get(key, ())]
    if len(candidates) == 1:
        return _of_account(ReturnMatch(candidates[0], "identifier of the submission"), account)
    if not candidates:
        return _of_message_id(
            traces, by_message_id.get(traces.message_id, ()), secret=secret, account=account
        )
    return _named(traces, candidates, secret=secret, account=account)


def _of_message_id(
    traces: Traces, found: Sequence[MessageRecord], *, secret: bool, account: str
) -> ReturnMatch:
    """Return the message with the client's own Message-ID, which anybody may have guessed."""
    candidates = [record for record in found if not account or record.account == account]
    if not candidates:
        return ReturnMatch(reason=OTHER_ACCOUNT if found else NOT_FOUND)
    if len(candidates) > 1:
        return _named(traces, candidates, secret=secret, account=account)
    if not secret:
        return ReturnMatch(reason=NOT_PROVEN, candidate=candidates[0].id)
    return ReturnMatch(candidates[0], "Message-ID at a secret address")


def _named(
    traces: Traces, candidates: Iterable[MessageRecord], *, secret: bool, account: str
) -> ReturnMatch:
    meant = [
        record
        for record in candidates
        if any(same_mailbox(named, record.recipient) for named in traces.recipients)
    ]
    if len(meant) != 1:
        return ReturnMatch(reason=NOT_ONE)
    if not secret:
        return ReturnMatch(reason=NOT_PROVEN, candidate=meant[0].id)
    return _of_account(ReturnMatch(meant[0], "recipient named at a secret address"), account)


def _of_account(found: ReturnMatch, account: str) -> ReturnMatch:
    if account and found.record is not None and found.record.account != account:
        return ReturnMatch(reason=OTHER_ACCOUNT)
    return found
