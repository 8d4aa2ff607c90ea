"""What happens at the dot: a submission, or a return, becomes Postroad's to look after.

Which messages get that far is decided in `backends`; what is said on the wire in `protocol`.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from postroad_common.broker import topology
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.errors import Transient, Unroutable
from postroad_common.mail.control import ControlError, read_controls
from postroad_common.mail.reply import Reply
from postroad_common.schemas.events import accepted
from postroad_common.schemas.framing import encode
from postroad_common.schemas.returns import Return
from postroad_common.schemas.submission import Submission
from postroad_common.store.credentials import Credential
from postroad_ingress_smtp import replies
from postroad_ingress_smtp.content import Message, count_hops
from postroad_ingress_smtp.envelope import Envelope
from postroad_ingress_smtp.injector import Injector
from postroad_ingress_smtp.operatormail import OperatorMail
from postroad_ingress_smtp.returns import make_returns
from postroad_ingress_smtp.session import Session
from postroad_ingress_smtp.submission import make_submission

_log = structlog.get_logger(__name__)


async def accept(
    arrival: "Arrival", credential: Credential, injector: Injector, events: EventWriter
) -> Reply:
    """Take a submitted message over: the first of the five functions of one mail.

    Its control headers are read and taken out, a large body is stored, the frame is published to
    the queue that the transformer reads (its function is `transform`), and only the broker's
    confirm lets the `250` out. Nothing is lost and nothing is kept when the reply is negative.
    """
    try:
        controls = read_controls(arrival.message.octets)
    except ControlError as error:
        return replies.bad_control(error.header, str(error).partition(": ")[2])
    submission = make_submission(
        credential,
        arrival.envelope,
        arrival.message,
        controls,
        client=arrival.session.client(smtputf8=arrival.envelope.parameters.smtputf8),
        received=time.time(),
        expire_seconds=injector.expire_seconds,
    )
    try:
        submission = await _submit(submission, controls.stripped, injector, dot=arrival.dot)
    except (Transient, Unroutable) as error:
        _log.warning("message not taken", submission=submission.id, reason=str(error))
        return replies.AWAY
    asyncio.get_running_loop().call_soon(_write_events, submission, events)  # after the reply
    _log.debug("message taken", submission=submission.id, size=submission.size)
    return replies.queued(
        submission.id, [(each.id, each.address) for each in submission.recipients]
    )


async def _submit(
    submission: Submission, message: bytes, injector: Injector, *, dot: float
) -> Submission:
    """Return the submission as it is on the queue, with a reference to a body that is stored."""
    body = await injector.store(message, submission.expires, dot=dot)
    if body is None:
        frame = encode(submission, message)
    else:
        submission = submission.model_copy(update={"body": body})
        frame = encode(submission)
    await injector.submit(frame, dot=dot)
    return submission


async def accept_return(
    arrival: "Arrival", injector: Injector, operator: OperatorMail | None, most_hops: int
) -> Reply:
    """Take over what came back: one return for each bounce address, for the bounce-processor.

    What is for the operator too, or only, is passed on as a submission, unless it has passed
    `most_hops` servers (0: any number).
    """
    received = time.time()
    raw = arrival.message.octets.lstrip(b"\r\n")  # before a header some robots send blank lines
    client = arrival.session.client(smtputf8=arrival.envelope.parameters.smtputf8)
    returns = make_returns(arrival.envelope, client=client, received=received, size=len(raw))
    taken = [(each.id, each.recipient) for each in returns]
    ids = [each.id for each in returns]
    passed_on: Submission | None = None
    if operator is not None and any(each.operator for each in arrival.envelope.recipients):
        hops = count_hops(raw)
        if most_hops and hops >= most_hops:
            return replies.mail_loop(hops)
        passed_on = operator.make_submission(
            raw,
            client=client,
            subject=arrival.message.subject,
            received=received,
            expires=received + injector.expire_seconds,
        )
        taken.append((passed_on.recipients[0].id, passed_on.recipients[0].address))
        ids.append(passed_on.id)
    try:
        if passed_on is not None:
            await _submit(passed_on, raw, injector, dot=arrival.dot)
        if returns:
            await _publish_returns(returns, raw, injector, received, dot=arrival.dot)
    except (Transient, Unroutable, TimeoutError) as error:
        _log.warning("return not taken", ids=ids, reason=str(error))
        return replies.AWAY
    _log.debug("return taken", ids=ids)
    return replies.queued(ids[0], taken)


async def _publish_returns(
    returns: Sequence[Return], raw: bytes, injector: Injector, received: float, *, dot: float
) -> None:
    body = await injector.store(raw, received, dot=dot)
    frames = [
        encode(each, raw)
        if body is None
        else encode(each.model_copy(update={"body": body, "shared": len(returns) > 1}))
        for each in returns
    ]
    await injector.publish(topology.RETURNS.name, frames, dot=dot)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that has arrived whole and may stand as it is."""

    session: Session
    envelope: Envelope
    message: Message
    dot: float
    """When it had arrived, in monotonic seconds."""


def _write_events(submission: Submission, events: EventWriter) -> None:
    """Tell the facts without waiting: the transformer tells the same ones once more."""
    try:
        for recipient in submission.recipients:
            events.add(accepted(submission, recipient))
    except Transient as error:
        _log.warning("event not written", submission=submission.id, reason=str(error))
