"""Handles what providers' feedback loops send: complaints at addresses of their own.

Unlike other returns they come to one address for all mail, so first the message is looked for
(`understanding.traces`, `understanding.matching`). Without proof nothing follows: the report is
kept for people to read, with what it says, and counted.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from postroad_bounce_processor import metrics
from postroad_bounce_processor.effects import Effects
from postroad_bounce_processor.reporting.pace import Pace
from postroad_bounce_processor.understanding.complaint import Complaint, find_complaint
from postroad_bounce_processor.understanding.matching import ReturnMatch, match
from postroad_bounce_processor.understanding.notification import find_notification
from postroad_bounce_processor.understanding.report import human_text
from postroad_bounce_processor.understanding.traces import Traces, find_traces, login_of
from postroad_common.mail.decoding import decode_words
from postroad_common.mail.feedbackloop import login_pseudonym
from postroad_common.mail.identifiers import id_time
from postroad_common.mail.mime import Part
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.events import Event, EventName, happened
from postroad_common.schemas.returns import Return
from postroad_common.store.database import Database
from postroad_common.store.messages import MessageRecord
from postroad_common.store.reports import UnmatchedReport
from postroad_common.tokens import Keyring, LinkSigner

SETTLED_SECONDS = 10.0
"""Age of a submission from which on all its recipients are taken to be in the store."""
HOLD_SECONDS = 600.0
"""How long a complaint waits for its message to appear in the store."""
MAX_TEXT = 16_000
NOT_A_COMPLAINT = "it is no complaint"
_MAX_LOGINS = 500

_log = structlog.get_logger("bounce-processor")


@dataclass(frozen=True, slots=True)
class Feedback:
    """One mail to an address for complaints, as far as it speaks for itself."""

    returned: Return
    mail: Part
    complaint: Complaint | None
    traces: Traces


class FeedbackReports:
    """See the module."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        bounce_domain: str,
        bounce_max_age_seconds: float,
        kept: Pace,
        clock: Callable[[], float],
    ) -> None:
        """`kept` paces what is kept, per account."""
        self._database = database
        self._addresses = BounceAddresses(keyring, bounce_domain, bounce_max_age_seconds)
        self._links = LinkSigner(keyring, "")
        self._login_key = keyring.mac("feedback-id", b"", 32)
        self._kept = kept
        self._clock = clock

    def read(self, returned: Return, mail: Part) -> Feedback:
        """Return what a mail says, without asking the store."""
        notification = find_notification(mail)
        complaint = notification if isinstance(notification, Complaint) else find_complaint(mail)
        traces = find_traces(mail, self._addresses, self._links, returned.received)
        if complaint is not None and complaint.recipient:
            named = dict.fromkeys((complaint.recipient.lower(), *traces.recipients))
            traces = replace(traces, recipients=tuple(named))
        return Feedback(returned, mail, complaint, traces)

    async def take(self, reports: Sequence[Feedback], effects: Effects) -> set[str]:
        """Add what follows from `reports` to the effects; return the ids of those that must wait.

        Raises:
            StoreAway: nothing was added.
        """
        complaints = [report for report in reports if report.complaint is not None]
        records = await self._database.messages.find_many(
            {report.traces.signed for report in complaints if report.traces.signed}
        )
        complete = {key: record for key, record in records.items() if record.recipient}
        submissions = await self._database.messages.find_submissions(
            {key for report in complaints for key in report.traces.submissions}
        )
        by_message_id = await self._database.messages.find_by_message_id(
            {
                report.traces.message_id
                for report in complaints
                if not report.traces.signed and not report.traces.submissions
            },
            self._clock(),
        )
        waiting: set[str] = set()
        for report in reports:
            if report.complaint is None:
                await self._keep(report, ReturnMatch(reason=NOT_A_COMPLAINT), effects)
                continue
            if self._must_wait(report, complete):
                waiting.add(report.returned.id)
                continue
            found = match(
                report.traces,
                complete,
                submissions,
                by_message_id,
                secret=report.returned.feedback == "secret",
                account=report.returned.account,
            )
            if found.record is None:
                await self._keep(report, found, effects)
            else:
                self._act(report, report.complaint, found.record, found.proof, effects)
        return waiting

    def _must_wait(self, report: Feedback, records: dict[str, MessageRecord]) -> bool:
        now = self._clock()
        if report.traces.signed:
            late = now - report.returned.received >= HOLD_SECONDS
            return report.traces.signed not in records and not late
        return any(now - id_time(key) < SETTLED_SECONDS for key in report.traces.submissions)

    def _act(
        self,
        report: Feedback,
        complaint: Complaint,
        record: MessageRecord,
        proof: str,
        effects: Effects,
    ) -> None:
        returned = report.returned
        effects.count(metrics.FEEDBACK, "matched")
        effects.events.append(_event(report, complaint, record, proof))
        if complaint.unwanted:
            effects.suppress(
                "complaint",
                account=record.account,
                address=record.recipient,
                message=record.id,
                reason=f"complaint ({complaint.feedback_type or 'abuse'})",
                time=returned.received,
                life=None,
            )
        _log.debug("complaint matched", id=record.id, returned=returned.id, proof=proof)

    async def _keep(self, report: Feedback, found: ReturnMatch, effects: Effects) -> None:
        returned = report.returned
        outcome = "unmatched" if report.complaint is not None else "other"
        effects.count(metrics.FEEDBACK, outcome)
        account = returned.account or await self._account_of(report.traces.feedback_id)
        if self._kept.moment(account, returned.id, self._clock()) is None:
            effects.count(metrics.LEFT_OUT, "too many reports without a message")
            return
        effects.unmatched.append(_unmatched(report, found, account))

    async def _account_of(self, feedback_id: str) -> str:
        """Return the account that the Feedback-ID proves: only its mails hold the login's hash."""
        claimed = login_of(feedback_id)
        if claimed is None:
            return ""
        pseudonym, account = claimed
        logins = await self._database.credentials.list(account, limit=_MAX_LOGINS)
        names: Iterable[str] = [login.username for login in logins]
        tokens = await self._database.tokens.list(account)
        names = [*names, *(token.id for token in tokens)]
        found = any(login_pseudonym(self._login_key, name) == pseudonym for name in names)
        return account if found else ""


def _event(report: Feedback, complaint: Complaint, record: MessageRecord, proof: str) -> Event:
    returned = report.returned
    name = EventName.COMPLAINED if complaint.unwanted else EventName.RESPONSE
    kind = complaint.feedback_type or "abuse"
    data: dict[str, object] = {
        "recipient": record.recipient,
        "return": returned.id,
        "source": "feedback-loop",
        "confidence": 0.95,
        "forwarded": False,
        "size": returned.size,
        "type": kind if complaint.unwanted else "response",
        "detail": kind,
        "proof": proof,
    }
    if complaint.reporting_host:
        data["host"] = complaint.reporting_host
    return happened(
        name,
        record.id,
        returned.received,
        data,
        account=record.account,
        event_id=f"{record.id}.{name}.{returned.id}",
    )


def _unmatched(report: Feedback, found: ReturnMatch, account: str) -> UnmatchedReport:
    returned, complaint, traces = report.returned, report.complaint, report.traces
    client = returned.client
    return UnmatchedReport(
        id=returned.id,
        account=account,
        address=returned.recipient,
        received=returned.received,
        mail_from=returned.mail_from[:320],
        client=client.ip if client else "",
        subject=decode_words(report.mail.headers.get("subject"))[:500],
        reason=found.reason,
        type=(complaint.feedback_type or "abuse") if complaint else "",
        reporter=(complaint.reporting_host or complaint.user_agent) if complaint else "",
        recipient=traces.recipients[0] if traces.recipients else "",
        feedback_id=traces.feedback_id,
        message_id=traces.message_id[:300],
        message=found.candidate,
        text=human_text(report.mail)[:MAX_TEXT],
    )
