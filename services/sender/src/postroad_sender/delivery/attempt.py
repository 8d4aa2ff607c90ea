"""One attempt at a job: as many transactions as it takes, with as many hosts as will talk.

What a first transaction leaves is offered again: recipients that were too many for one transaction,
or whose parameters the host did not understand, by the next one, and those that the host did not
take for reasons of its own by the next host (RFC 5321 section 5.1). Who has an answer is never
offered again, and mail whose final dot was sent without an answer is not either: it may have
arrived, and waits for its next attempt.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from postroad_common.mail.reply import Reply
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.outcome import Outcome, Status
from postroad_sender.throttle.signals import Signal
from postroad_smtp.client.commands import Envelope
from postroad_smtp.client.conversation import MOST, bounded
from postroad_smtp.client.session import ClientSession
from postroad_smtp.client.stage import Stage

MOST_SESSIONS = 3  # for one attempt
MOST_TRANSACTIONS = 100
MOST_SECONDS = 300.0  # since the message came here, for another transaction to begin
_ABOUT_THE_MAILBOX = frozenset(
    {Signal.MAILBOX, Signal.RECIPIENT, Signal.GREYLIST, Signal.RECIPIENTS, Signal.PARAMETERS}
)


class Attempt:
    """What is known of each recipient so far. `left` are the numbers of those to be offered."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.envelope: Envelope = job.envelope()
        self.sessions = 1
        self.transactions = 0
        self.tried: dict[str, str] = {}
        """The addresses that were spoken to, with their hosts."""
        self.left = list(range(len(self.envelope.recipients)))
        self._left_behind: list[ClientSession] = []
        self._known: list[Outcome | None] = [None] * len(self.left)

    @property
    def is_begun(self) -> bool:
        """Whether a transaction has ended, so that some recipients may have the message."""
        return self.transactions > 0

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Take up what a transaction came to, one outcome for each that was `left`."""
        self.transactions += 1
        for number, outcome in zip(self.left, outcomes, strict=True):
            self._known[number] = outcome

    @property
    def said(self) -> str:
        """What was said about the first of those that are left."""
        return self._of(self.left[0]).said

    def tell(self, said: str) -> None:
        """Add what was `said` elsewhere, in vain, to what is known of those that are left."""
        for number in self.left:
            outcome = self._of(number)
            text = bounded(f"{outcome.said}\n{said}", MOST) if said else outcome.said
            self._known[number] = replace(outcome, said=text)

    def leave_host(self, session: ClientSession) -> None:
        """Leave the server of `session`; it is to blame if another one takes the message."""
        self.tried[session.address] = session.host
        self._left_behind.append(session)

    def blame(self, note: Callable[[ClientSession], None]) -> None:
        """Call `note` for the sessions whose servers did not take what another one did."""
        for session in self._left_behind:
            note(session)
        self._left_behind.clear()

    def outcomes(self) -> list[Outcome]:
        """Return what is known of each recipient; who was not offered is deferred."""
        return [_UNOFFERED if outcome is None else outcome for outcome in self._known]

    def leave_for_same_host(self) -> bool:
        """Leave those that the same host may take now. Whether there are some.

        They were too many, where others were taken, or were named with parameters that it refuses.
        """
        signals = {Signal.PARAMETERS}
        if any(self._of(number).status is Status.DELIVERED for number in self.left):
            signals.add(Signal.RECIPIENTS)
        again = [number for number in self.left if self._of(number).signal in signals]
        if not again or self._is_long:
            return False
        self._leave(again)
        return True

    def leave_for_next_host(self) -> bool:
        """Leave those that another host may take. Whether there are some."""
        left = [number for number in self.left if _is_the_hosts(self._of(number))]
        if not left or self.sessions >= MOST_SESSIONS or self._is_long:
            return False
        self._leave(left)
        return True

    @property
    def _is_long(self) -> bool:
        """Whether it has gone on for so long that the broker may take the message back."""
        held = time.monotonic() - self.job.arrived
        return held > MOST_SECONDS or self.transactions >= MOST_TRANSACTIONS

    def _of(self, number: int) -> Outcome:
        return self._known[number] or _UNOFFERED

    def _leave(self, numbers: list[int]) -> None:
        self.left = numbers
        recipients = self.job.envelope().recipients
        left = tuple(recipients[number] for number in numbers)
        self.envelope = replace(self.envelope, recipients=left)


_UNOFFERED = Outcome(
    Status.DEFERRED, Stage.MAIL, Reply(451, "4.4.2", "the attempt was broken off"), local=True
)


def _is_the_hosts(outcome: Outcome) -> bool:
    return (
        outcome.status is Status.DEFERRED
        and outcome.certain
        and outcome.signal not in _ABOUT_THE_MAILBOX
    )
