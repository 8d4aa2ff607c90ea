"""Outcome: the one record that ends every delivery attempt, for one recipient.

Exactly one of delivered, deferred, failed; everything that is reported or decided hangs off it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from postroad_common.mail.classification import Classification
from postroad_common.mail.reply import Reply
from postroad_sender.throttle.signals import (
    CLASSIFICATIONS,
    Signal,
    classify,
    of_fault,
    stated_delay,
)
from postroad_smtp.client.session import ClientSession
from postroad_smtp.client.stage import Fault, Stage, WireError
from postroad_smtp.client.transaction import RecipientResult


class Status(StrEnum):
    """What became of the attempt."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Server:
    """Who was spoken to. `tls` and `policy` say what protected the connection.

    `dsn`: it sends DSNs itself.
    """

    host: str
    ip: str
    tls: str = ""
    policy: Mapping[str, Any] | None = None
    dsn: bool = False

    @classmethod
    def of(cls, session: ClientSession) -> "Server":
        """Return the server at the other end of `session`."""
        return cls(
            session.host,
            session.address,
            session.protection,
            session.policy,
            session.capabilities.dsn,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """See the module. `reply` is the server's, or ours when `local`.

    `delay`: seconds that the server asked for. `certain` is false when the message may have
    arrived all the same. `said` is the conversation. `simulated`: no
    server was asked. `server` is None, and `policy` are the facts
    of the TLS policy that forbade it, where no message was offered.
    """

    status: Status
    stage: Stage
    reply: Reply
    signal: Signal = Signal.NONE
    local: bool = False
    certain: bool = True
    delay: float | None = None
    said: str = ""
    policy: Mapping[str, Any] | None = None
    server: Server | None = None
    simulated: bool = False

    @property
    def classification(self) -> Classification:
        """Why, in the words that bounces use, too."""
        ours = _CLASSIFICATIONS.get(self.reply.enhanced) if self.local else None
        return ours or CLASSIFICATIONS[self.signal]

    def is_quick(self, attempt: int) -> bool:
        """Whether the attempt after number `attempt` may be soon: only the moment was wrong.

        Where it is unknown whether the server took the message, each attempt may be one more copy:
        once it may have been chance.
        """
        return self.signal in _QUICK or (not self.certain and attempt == 0)


_QUICK = frozenset({Signal.RATE, Signal.CONNECTIONS})
_CLASSIFICATIONS = {
    "4.4.3": Classification.DNS,
    "4.5.0": Classification.PROTOCOL,
    "4.7.5": Classification.TLS,
}


def of_answer(answer: RecipientResult, server: Server | None = None, said: str = "") -> Outcome:
    """Return the outcome for a recipient that the transaction with `server` answered for."""
    reply = answer.reply
    if reply is not None and answer.is_delivered:
        return Outcome(Status.DELIVERED, answer.stage, reply, said=said, server=server)
    if reply is None:
        outcome = _of_fault(answer.stage, answer.fault or Fault.LOCAL, answer.detail)
    elif answer.local:
        outcome = Outcome(Status.FAILED, answer.stage, reply, local=True)
    else:
        outcome = _of_reply(answer.stage, reply)
    return replace(outcome, said=said, server=server)


def of_transaction(session: ClientSession, answers: Sequence[RecipientResult]) -> list[Outcome]:
    """Return the outcomes of the last transaction of `session`, one for each recipient."""
    server = Server.of(session)
    return [
        of_answer(answer, server, session.told(number)) for number, answer in enumerate(answers)
    ]


def without_parameters(outcome: Outcome) -> Outcome:
    """Return `outcome` of a recipient who is to be offered again without what was refused."""
    return replace(outcome, status=Status.DEFERRED, signal=Signal.PARAMETERS)


def of_error(error: WireError) -> Outcome:
    """Return the outcome of not getting as far as offering the message."""
    if error.reply is not None:
        outcome = _of_reply(error.stage, error.reply)
    else:
        outcome = _of_fault(error.stage, error.fault or Fault.LOCAL, error.detail)
    return replace(outcome, said=error.said, policy=error.policy)


def expired(last: str) -> Outcome:
    """Return the outcome of a message whose time is over; `last` says why it waited."""
    text = f"delivery time expired; {last}" if last else "delivery time expired"
    return Outcome(Status.FAILED, Stage.ROUTE, Reply(554, "5.4.7", text[:500]), local=True)


def directed(reply: Reply, reason: str) -> Outcome:
    """Return the outcome of a message that an operator has directed to fail, for `reason`."""
    said = f"# bounced by directive: {reason}"
    return Outcome(Status.FAILED, Stage.ROUTE, reply, local=True, said=said)


def _of_reply(stage: Stage, reply: Reply) -> Outcome:
    if stage is Stage.ROUTE:  # ours, and definite: DNS has answered
        status = Status.FAILED if reply.is_permanent else Status.DEFERRED
        return Outcome(status, stage, reply, local=True)
    # A 5yz before the message is offered is about us or the server, not about the message: the
    # next host or the next hour may think otherwise.
    # Nor is it if only the number of recipients was (RFC 5321 section 4.5.3.1.10).
    signal = classify(reply, stage)
    permanent = reply.is_permanent and not stage.opens and signal is not Signal.RECIPIENTS
    return Outcome(
        status=Status.FAILED if permanent else Status.DEFERRED,
        stage=stage,
        reply=reply,
        signal=signal,
        delay=stated_delay(reply),
    )


_ENHANCED = {
    Fault.DNS: "4.4.3",
    Fault.REFUSED: "4.4.1",
    Fault.UNREACHABLE: "4.4.1",
    Fault.TIMEOUT: "4.4.1",
    Fault.DROPPED: "4.4.2",
    Fault.GARBLED: "4.5.0",
    Fault.TLS: "4.7.5",
    Fault.LOCAL: "4.3.0",
}


def _of_fault(stage: Stage, fault: Fault, detail: str) -> Outcome:
    text = detail or fault.value
    if stage is Stage.DOT:
        text = f"{text} after the message was sent; it may have arrived"
    enhanced = _ENHANCED[fault]
    if fault is Fault.TIMEOUT and not stage.opens:
        enhanced = "4.4.2"
    return Outcome(
        status=Status.DEFERRED,
        stage=stage,
        reply=Reply(451, enhanced, text[:500]),
        signal=of_fault(fault),
        local=True,
        certain=stage is not Stage.DOT,
    )
