"""`/v1/scheduled`: mail that waits for its time."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from postroad_common.store.scheduled import ScheduledMail
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import SchedulingOf
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1/scheduled", tags=["send"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
Writer = Annotated[Token, needs("messages")]


class MoveFields(BaseModel):
    """The new time."""

    model_config = ConfigDict(extra="forbid")

    sendat: str = Field(description="Do not send before this time, UTC.", max_length=40)


class ScheduledView(BaseModel):
    """A submission that waits, or did. Times are Unix seconds.

    `state` is `waiting`, `leaving` (on its way to the queue), `left` or `cancelled`. `messages` are
    message ids with their recipients, whose addresses are told only while it waits.
    """

    id: str
    sendat: float
    state: str
    messages: dict[str, str | None]
    subject: str
    created: float


def _view(mail: ScheduledMail) -> ScheduledView:
    recipients: Sequence[str | None] = mail.recipients or [None] * len(mail.messages)
    return ScheduledView(
        id=mail.id,
        sendat=mail.due,
        state=mail.state,
        messages=dict(zip(mail.messages, recipients, strict=True)),
        subject=mail.subject,
        created=mail.created,
    )


@router.get("", summary="List scheduled mail")
async def listing(
    token: Reader,
    scheduling: SchedulingOf,
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[ScheduledView]:
    """Mail that waits, the next to be sent first."""
    position = read_cursor(cursor, float, str)
    after = (float(position[0]), str(position[1])) if position else None
    found = await scheduling.store.page(token.account, after=after, limit=limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return Page(
        items=[_view(mail) for mail in found[:limit]],
        cursor=write_cursor(last.due, last.id) if last else None,
    )


@router.get("/{scheduled_id}", summary="One scheduled mail")
async def one(scheduled_id: str, token: Reader, scheduling: SchedulingOf) -> ScheduledView:
    """By the id of the submission, or of one of its messages; known for a week afterwards."""
    return _view(await scheduling.find(token.account, scheduled_id))


@router.patch("/{scheduled_id}", summary="Change the time of scheduled mail")
async def move(
    scheduled_id: str,
    token: Writer,
    fields: Annotated[MoveFields, body(MoveFields)],
    scheduling: SchedulingOf,
) -> ScheduledView:
    """Send the submission at another time; all of its messages, whichever names it."""
    return _view(await scheduling.move(token.account, scheduled_id, fields.sendat, token.id))


@router.delete("/{scheduled_id}", summary="Cancel scheduled mail", status_code=204)
async def cancel(scheduled_id: str, token: Writer, scheduling: SchedulingOf) -> Response:
    """Send it to nobody; with the id of one message, not to its recipient.

    `409` says that it was handed out before: then it is sent.
    """
    await scheduling.cancel(token.account, scheduled_id, token.id)
    return Response(status_code=204)
