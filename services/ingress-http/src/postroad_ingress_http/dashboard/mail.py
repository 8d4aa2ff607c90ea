"""Messages, their timelines and content, bounces, suppressions."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from postroad_common.mail.identifiers import is_id
from postroad_common.schemas.events import Event
from postroad_common.store.messages import RANKS
from postroad_common.store.suppressions import Suppression
from postroad_ingress_http import content
from postroad_ingress_http.api.messages import find
from postroad_ingress_http.api.pages import read_cursor, write_cursor
from postroad_ingress_http.api.suppressions import read_address
from postroad_ingress_http.api.times import read_moment
from postroad_ingress_http.dashboard import texts
from postroad_ingress_http.dashboard.sessions import Session
from postroad_ingress_http.dashboard.site import Dashboard, see_other, text
from postroad_ingress_http.fields import Fields

_PAGE = 40
_TROUBLES = ("bounced", "failed", "complained", "suppressed")
_FILTERS = ("recipient", "id", "tag", "state", "start", "end")
_PREVIEW_CSP = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A line of the page of bounces."""

    message: str
    recipient: str
    event: str
    reason: str
    time: float


def routes(dashboard: Dashboard) -> Sequence[BaseRoute]:
    """The pages of this module."""
    parts = dashboard.parts
    database = parts.database

    async def messages(request: Request, session: Session) -> Response:
        query = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
        if is_id(query["id"]):
            return see_other(f"/dashboard/messages/{query['id']}")
        position = read_cursor(request.query_params.get("cursor"), str)
        found = await database.messages.search(
            session.account,
            recipient=query["recipient"] or None,
            tag=query["tag"] or None,
            state=query["state"] if query["state"] in RANKS else None,
            start=read_moment("start", query["start"]),
            end=read_moment("end", query["end"]),
            before=position[0] if position else None,
            limit=_PAGE + 1,
        )
        return dashboard.answer(
            request,
            "messages.html",
            messages=found[:_PAGE],
            filter=query,
            states=list(RANKS),
            cursor=write_cursor(found[_PAGE - 1].id) if len(found) > _PAGE else None,
        )

    async def message(request: Request, session: Session) -> Response:
        record = await find(parts, session.account, request.path_params["message_id"])
        events = await database.events.timeline(record.id)
        return dashboard.answer(
            request,
            "message.html",
            message=record,
            timeline=[texts.step(event) for event in events],
            has_body=record.body is not None,
        )

    async def preview(request: Request, session: Session) -> Response:
        raw = await content.fetch(parts, session.account, request.path_params["message_id"])
        html = content.text_of(raw, "html")
        if html is None:
            html = f"<pre>{escape(content.text_of(raw, 'plain') or '')}</pre>"
        return HTMLResponse(
            html.encode("utf-8", "replace"), headers={"Content-Security-Policy": _PREVIEW_CSP}
        )

    async def bounces(request: Request, session: Session) -> Response:
        position = read_cursor(request.query_params.get("cursor"), float, str)
        events = await database.events.search(
            session.account,
            names=_TROUBLES,
            before=(position[0], position[1]) if position else None,
            limit=_PAGE + 1,
        )
        shown = events[:_PAGE]
        last = shown[-1] if len(events) > _PAGE else None
        return dashboard.answer(
            request,
            "bounces.html",
            rows=await troubles(shown),
            cursor=write_cursor(float(last.time), last.id) if last else None,
        )

    async def troubles(events: Sequence[Event]) -> list[Trouble]:
        records = await database.messages.find_many({event.message for event in events})
        return [
            Trouble(
                message=event.message,
                recipient=record.recipient if (record := records.get(event.message)) else "",
                event=str(event.event),
                reason=texts.reason(event),
                time=event.time,
            )
            for event in events
        ]

    async def suppressions(request: Request, session: Session) -> Response:
        position = read_cursor(request.query_params.get("cursor"), str)
        after = position[0] if position else ""
        found = await database.suppressions.list(session.account, after=after, limit=_PAGE + 1)
        return dashboard.answer(
            request,
            "suppressions.html",
            rows=found[:_PAGE],
            cursor=write_cursor(found[_PAGE - 1].address) if len(found) > _PAGE else None,
        )

    async def suppress(_: Request, session: Session, fields: Fields) -> Response:
        entry = Suppression(
            account=session.account,
            address=read_address(text(fields, "address")),
            reason=text(fields, "reason")[:500] or "entered by hand",
            kind="manual",
            created=parts.clock(),
            expires=None,
        )
        await database.suppressions.add([entry])
        return see_other("/dashboard/suppressions")

    async def unsuppress(_: Request, session: Session, fields: Fields) -> Response:
        await database.suppressions.remove(session.account, text(fields, "address"))
        return see_other("/dashboard/suppressions")

    return [
        dashboard.page("/messages", messages),
        dashboard.page("/messages/{message_id}", message),
        dashboard.page("/messages/{message_id}/preview", preview),
        dashboard.page("/bounces", bounces),
        dashboard.page("/suppressions", suppressions),
        dashboard.action("/suppressions", suppress),
        dashboard.action("/suppressions/delete", unsuppress),
    ]
