"""Messages: searched, listed and exported; one message is in `message`."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from postroad_common.mail.identifiers import is_id
from postroad_common.store.messages import RANKS, Criteria, Messages
from postroad_ingress_http.access.scopes import allows
from postroad_ingress_http.dashboard.forms import see_other
from postroad_ingress_http.dashboard.searching import page_of
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn
from postroad_ingress_http.dependencies import MessageStore, SearchStore
from postroad_ingress_http.exports import messages as exports
from postroad_ingress_http.exports.messages import Form
from postroad_ingress_http.history.search import (
    NAMES,
    SOURCES,
    SWITCHES,
    FoundPage,
    look,
    read_criteria,
)
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.paging import read_cursor, write_cursor
from postroad_ingress_http.jobs.acts import ACTS

router = APIRouter(prefix="/dashboard", include_in_schema=False)
_PAGE = 40
_COUNT_SECONDS = 0.05
_COUNTED = 5_000  # of more it is not said how many there are
_FILTERS = ("id", *NAMES)
_MORE = ("id", "sender", "envelope", "login", "template", "submission", "source", *SWITCHES)
_Format = Annotated[Form, Query(alias="format")]


@router.get("/messages")
async def search(
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    messages: MessageStore,
    searches: SearchStore,
) -> Response:
    """List the messages that the filters leave, newest first."""
    query = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
    asked = any(query[name] for name in NAMES)
    found = FoundPage((), None, None)
    total: int | None = 0
    error = None
    try:
        if query["id"]:
            return see_other(f"/dashboard/messages/{_checked_id(query['id'])}")
        position = read_cursor(request.query_params.get("cursor"), str)
        criteria = read_criteria(query, whole_days=True)
        found = await look(
            messages,
            session.account,
            criteria,
            before=position[0] if position else None,
            page=_PAGE,
        )
        total = len(found.records)
        if found.reached is not None:
            total = None
        elif asked and (position or found.position):
            total = await _count(messages, session.account, criteria)
    except ApiError as refusal:
        error = refusal
        if error.status != 400:
            raise
    return pages.answer(
        "messages.html",
        status=400 if error else 200,
        error=error,
        messages=found.records,
        reached=found.reached,
        asked=asked,
        total=_told(total),
        acts=[act for act in ACTS.values() if allows(session.scopes, act.scope)],
        saved=[
            (saved, page_of(saved.search))
            for saved in await searches.list(session.account, session.email)
        ],
        filter=query,
        states=list(RANKS),
        sources=SOURCES,
        more=error is not None or any(query[name] for name in _MORE),
        cursor=None if found.position is None else write_cursor(found.position),
    )


async def _count(messages: Messages, account: str, criteria: Criteria) -> int | None:
    """Return how many messages a search finds; None where it takes too long to say."""
    counted = await messages.count(account, criteria, most=_COUNTED + 1, seconds=_COUNT_SECONDS)
    return counted.number if counted.whole else None


def _told(total: int | None) -> str:
    """Return the number of messages for people; nothing where it is not known."""
    if total is None:
        return ""
    return f"More than {_COUNTED:,}" if total > _COUNTED else f"{total:,}"


@router.get("/messages/export")
async def export(
    request: Request, session: SignedIn, messages: MessageStore, form: _Format = "csv"
) -> Response:
    """Return what a search finds as a file."""
    criteria = read_criteria(
        {name: request.query_params.get(name, "").strip() for name in NAMES}, whole_days=True
    )
    return StreamingResponse(
        exports.export(messages, session.account, criteria, form),
        media_type=exports.MEDIA_TYPES[form],
        headers={"Content-Disposition": f"attachment; filename=messages.{form}"},
    )


def _checked_id(text: str) -> str:
    if not is_id(text):
        raise bad_field("id", "A message id has 21 characters; this is none.")
    return text
