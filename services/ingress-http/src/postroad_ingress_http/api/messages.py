"""`/v1/messages`: mail, one message for each recipient."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response, StreamingResponse

from postroad_common.classification.explaining import Explanation
from postroad_common.schemas.events import Event
from postroad_common.schemas.features import Features
from postroad_common.store.events import TIMELINE
from postroad_common.store.messagedirectives import Action
from postroad_common.store.messages import Criteria, MessageRecord
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS, refusals
from postroad_ingress_http.dependencies import (
    EventStore,
    HistoryOf,
    MessageDirectionOf,
    MessageStore,
    TemplatesOf,
)
from postroad_ingress_http.exports import messages as exports
from postroad_ingress_http.exports.messages import Form
from postroad_ingress_http.history.directives import MessageDirectiveView
from postroad_ingress_http.history.explaining import explain_all
from postroad_ingress_http.history.search import look, read_criteria
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.moments import Moment
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    SearchText,
    read_cursor,
    write_cursor,
)
from postroad_ingress_http.sending.templates import TemplateLibrary

router = APIRouter(prefix="/v1/messages", tags=["messages"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
Writer = Annotated[Token, needs("messages")]


class MessageView(BaseModel):
    """A message to one recipient. Times are Unix seconds. `test`: it is not sent."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    submission: str
    envelope: str
    recipient: str
    subject: str
    tags: list[str]
    metadata: dict[str, str]
    template: str
    features: Features
    state: str
    attempts: int
    opens: int
    clicks: int
    size: int
    source: str
    test: bool
    created: float
    updated: float


class MessageWithTimeline(MessageView):
    """A message with all that happened to it, oldest first.

    An attempt to deliver has its SMTP `conversation`: lines that begin with `C: ` (Postroad),
    `S: ` (the receiving server) or `# ` (a remark). What was refused, put off or returned has an
    `explanation`: its `class`, the `meaning` in plain words, and as `advice` what can be done.
    `timeline_cut`: only the newest thousand events
    are here. `directive` is what was directed for it, where anything was.
    """

    timeline: list[dict[str, Any]]
    directive: MessageDirectiveView | None = None
    timeline_cut: bool = False


def timeline_entry(event: Event) -> dict[str, Any]:
    """Return the event as the timeline of its message shows it."""
    said = event.facts.get("conversation")
    conversation = {"conversation": said.split("\n")} if isinstance(said, str) else {}
    return {
        **event.facts,
        **conversation,
        "event": str(event.event),
        "time": event.time,
        "id": event.id,
    }


def _explanation(why: Explanation | None) -> dict[str, Any]:
    if why is None:
        return {}
    told = {"class": str(why.classification), "meaning": why.meaning, "advice": why.advice}
    return {"explanation": told}


def view_with_timeline(
    record: MessageRecord,
    events: Iterable[Event],
    directive: MessageDirectiveView | None = None,
    explained: Mapping[str, Explanation] | None = None,
) -> MessageWithTimeline:
    """Return the message with its events, which come oldest first, and what was explained."""
    timeline = [
        timeline_entry(event) | _explanation((explained or {}).get(event.id)) for event in events
    ]
    return MessageWithTimeline(
        **MessageView.model_validate(record).model_dump(),
        timeline=timeline,
        directive=directive,
        timeline_cut=len(timeline) >= TIMELINE,
    )


@dataclass(frozen=True, slots=True)
class SearchFields:
    """The query parameters of a search; FastAPI fills them in."""

    recipient: Annotated[
        str | None, Query(max_length=320, description="An address, or @domain.")
    ] = None
    tag: SearchText = None
    state: SearchText = None
    envelope: SearchText = None
    sender: Annotated[
        str | None, Query(max_length=320, description="The address of the From field.")
    ] = None
    submission: SearchText = None
    template: Annotated[str | None, Query(max_length=320, description="Id or name.")] = None
    login: Annotated[str | None, Query(max_length=320, description="A login or token.")] = None
    subject: Annotated[
        str | None, Query(max_length=320, description="Some words of the first eight.")
    ] = None
    opened: Annotated[str | None, Query(max_length=5, description="`true`: by people.")] = None
    clicked: Annotated[str | None, Query(max_length=5, description="`true`: by people.")] = None
    complained: Annotated[str | None, Query(max_length=5, description="`true`")] = None
    test: Annotated[str | None, Query(max_length=5, description="`true`: tests only.")] = None
    source: Annotated[
        str | None,
        Query(description="smtp, rest; or dsn, forward: mail that Postroad wrote itself."),
    ] = None
    start: Moment = None
    end: Moment = None


Searched = Annotated[SearchFields, Depends()]


class MessagePage(Page[MessageView]):
    """One page of a search. Without a `cursor` it is the last.

    A search for what is rare among many messages stops before the page is full, or has any items:
    `searched_back_to` (Unix seconds) says how far it has come, and the `cursor` goes on from there.
    """

    searched_back_to: float | None = None


@router.get("", summary="Search messages")
async def search(  # noqa: PLR0917 - FastAPI passes them by name
    token: Reader,
    messages: MessageStore,
    templates: TemplatesOf,
    fields: Searched,
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> MessagePage:
    """Newest first. What Postroad wrote itself is found by its source only.

    A page may have few items, or none, and a `cursor` all the same: go on while there is one.
    """
    position = read_cursor(cursor, str)
    found = await look(
        messages,
        token.account,
        await _criteria(fields, token.account, templates),
        before=position[0] if position else None,
        page=limit,
    )
    return MessagePage(
        items=[MessageView.model_validate(record) for record in found.records],
        cursor=None if found.position is None else write_cursor(found.position),
        searched_back_to=found.reached,
    )


async def _criteria(fields: SearchFields, account: str, templates: TemplateLibrary) -> Criteria:
    """Return what the fields ask for; a template may be named by its id or its name."""
    asked = asdict(fields)
    if fields.template:
        with contextlib.suppress(ApiError):  # it is deleted, and its id is known all the same
            asked["template"] = (await templates.find(account, fields.template)).id
    return read_criteria(asked)


@router.get("/export", summary="Export messages", response_class=Response)
async def export(
    token: Reader,
    messages: MessageStore,
    templates: TemplatesOf,
    fields: Searched,
    form: Annotated[Form, Query(alias="format")] = "csv",
) -> Response:
    """Return what a search finds as CSV or JSON lines, newest first, at most 100,000 messages."""
    criteria = await _criteria(fields, token.account, templates)
    pieces = exports.export(messages, token.account, criteria, form)
    return StreamingResponse(pieces, media_type=exports.MEDIA_TYPES[form])


@router.get("/{message_id}", summary="One message")
async def one(
    message_id: str,
    token: Reader,
    history: HistoryOf,
    events: EventStore,
    directed: MessageDirectionOf,
) -> MessageWithTimeline:
    """With its timeline."""
    record = await history.find(token.account, message_id)
    timeline = await events.timeline(message_id)
    explained = await explain_all(timeline)
    return view_with_timeline(record, timeline, await directed.find(record), explained)


@router.post(
    "/{message_id}/retry",
    status_code=202,
    summary="Try a message now",
    responses=refusals(404, 409),
)
async def retry(
    message_id: str, token: Writer, directed: MessageDirectionOf
) -> MessageDirectiveView:
    """Let a message that waits be tried as soon as its queue brings it, before its time.

    The limits of its destination hold all the same. `GET` of the message shows the result.
    """
    return await directed.direct(token.account, message_id, Action.RETRY, token.id)


@router.post(
    "/{message_id}/cancel",
    status_code=202,
    summary="Cancel a message",
    responses=refusals(404, 409),
)
async def cancel(
    message_id: str, token: Writer, directed: MessageDirectionOf
) -> MessageDirectiveView:
    """Take a message back that waits: no attempt begins any more, and nobody is sent a DSN.

    From when the sender knows of it, which is within seconds. The event `cancelled` tells that it
    is over; a message whose attempt was under way ends as that says, and the result is `too_late`.
    """
    return await directed.direct(token.account, message_id, Action.CANCEL, token.id)
