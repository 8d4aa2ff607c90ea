"""What can be done with one message: try it now, cancel it, send it again, suppress its address.

Every act is a POST with the session's token and answers with a redirect, so that reloading repeats
nothing.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.submission import Client
from postroad_common.store.audit import AuditEntry, AuditLog, current_actor
from postroad_common.store.messagedirectives import Action
from postroad_common.store.messages import MessageRecord
from postroad_common.store.suppressions import Suppression
from postroad_ingress_http.dashboard.forms import see_other
from postroad_ingress_http.dashboard.message import Found
from postroad_ingress_http.dashboard.visitor import Form, SignedIn
from postroad_ingress_http.dependencies import (
    AcceptanceOf,
    AuditOf,
    ClockOf,
    HistoryOf,
    MessageDirectionOf,
    SuppressionStore,
)
from postroad_ingress_http.history.messages import MessageHistory
from postroad_ingress_http.sending.accept import Acceptance
from postroad_ingress_http.sending.resend import resend
from postroad_ingress_http.sending.submission import RequestOrigin

router = APIRouter(prefix="/dashboard/messages/{message_id}", include_in_schema=False)


@router.post("/resend")
async def send_again(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    record: Found,
    session: SignedIn,
    _: Form,
    history: HistoryOf,
    acceptance: AcceptanceOf,
    audit: AuditOf,
) -> Response:
    """Submit it again and show the new message."""
    return await _send_again(request, record, session.email, history, acceptance, audit)


@router.post("/retry")
async def try_now(
    record: Found, session: SignedIn, _: Form, direction: MessageDirectionOf
) -> Response:
    """Have a message that waits tried at once."""
    await direction.direct(record.account, record.id, Action.RETRY, session.email)
    return see_other(
        f"/dashboard/messages/{record.id}",
        "It is tried within seconds, as soon as its lane lets it through.",
    )


@router.post("/cancel")
async def cancel(
    record: Found, session: SignedIn, _: Form, direction: MessageDirectionOf
) -> Response:
    """Have a message that waits not be sent any more."""
    await direction.direct(record.account, record.id, Action.CANCEL, session.email)
    return see_other(f"/dashboard/messages/{record.id}", "It is cancelled before its next attempt.")


@router.post("/suppress")
async def suppress(
    record: Found, session: SignedIn, _: Form, suppressions: SuppressionStore, clock: ClockOf
) -> Response:
    """Suppress the address of the message."""
    entry = Suppression(
        account=record.account,
        address=record.recipient,
        reason=f"suppressed by {session.email}",
        kind="manual",
        created=clock(),
        expires=None,
        message=record.id,
    )
    await suppressions.add([entry])
    return see_other(
        f"/dashboard/messages/{record.id}",
        "The address is suppressed: nothing is sent to it until that is lifted.",
    )


@router.post("/lift")
async def lift(record: Found, _: Form, suppressions: SuppressionStore) -> Response:
    """Lift the suppression of the address."""
    await suppressions.remove(record.account, record.recipient.lower())
    return see_other(
        f"/dashboard/messages/{record.id}",
        "The suppression is lifted; mail to this address is sent again.",
    )


@router.post("/lift-and-resend")
async def lift_and_send_again(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    record: Found,
    session: SignedIn,
    _: Form,
    history: HistoryOf,
    acceptance: AcceptanceOf,
    suppressions: SuppressionStore,
    audit: AuditOf,
) -> Response:
    """Lift the suppression of the address and submit the message again."""
    await history.read_submission(record)  # lift nothing if there is nothing to send
    await suppressions.remove(record.account, record.recipient.lower())
    return await _send_again(request, record, session.email, history, acceptance, audit)


async def _send_again(  # noqa: PLR0917 - what both acts are given
    request: Request,
    record: MessageRecord,
    user: str,
    history: MessageHistory,
    acceptance: Acceptance,
    audit: AuditLog,
) -> Response:
    archived, raw = await history.read_submission(record)
    client = Client(ip=request.client.host if request.client else "", protocol="HTTP")
    origin = RequestOrigin(record.account, user, client)
    (message_id,) = await resend(record, archived, raw, origin, acceptance)
    if actor := current_actor():
        await audit.write(
            AuditEntry(
                id=new_id(),
                account=record.account,
                time=acceptance.clock(),
                actor=actor,
                action="messages.resend",
                target=record.id,
                after={"recipient": record.recipient, "message": message_id},
            )
        )
    return see_other(
        f"/dashboard/messages/{message_id}",
        "Sent again. This is the new message, with a timeline of its own.",
    )
