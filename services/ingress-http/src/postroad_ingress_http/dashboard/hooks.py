"""Webhooks: the list, and a page for each with its delivery log and what can be done with it."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from postroad_common.store.database import Database
from postroad_common.store.outbox import DeliveryState
from postroad_common.store.webhooks import Webhook
from postroad_ingress_http import hooks
from postroad_ingress_http.api.pages import read_cursor, write_cursor
from postroad_ingress_http.api.times import read_moment
from postroad_ingress_http.dashboard.sessions import Session
from postroad_ingress_http.dashboard.site import Dashboard, see_other, text, texts_of
from postroad_ingress_http.errors import bad_field, not_found
from postroad_ingress_http.fields import Fields

_PAGE = 40
_BY_OWNER = "by its owner"


async def given_up(database: Database, account: str) -> list[Webhook]:
    """The webhooks that Postroad has disabled: their owner should know."""
    found = await database.webhooks.list(account)
    return [hook for hook in found if hook.disabled and hook.reason != _BY_OWNER]


def routes(dashboard: Dashboard) -> Sequence[BaseRoute]:
    """The pages of this module."""
    parts = dashboard.parts
    database = parts.database

    async def listing(request: Request, session: Session) -> Response:
        found = await database.webhooks.list(session.account)
        return dashboard.answer(request, "webhooks.html", rows=found, event_names=hooks.HOOK_EVENTS)

    async def create(request: Request, session: Session, fields: Fields) -> Response:
        made = await hooks.create(
            database,
            session.account,
            url=text(fields, "url").strip(),
            events=texts_of(fields, "events"),
        )
        return secret(request, "Webhook created", made)

    def secret(request: Request, heading: str, webhook: Webhook) -> Response:
        return dashboard.answer(
            request,
            "secret.html",
            heading=heading,
            secrets=[("Signing secret", webhook.secrets[0])],
            back=f"/dashboard/webhooks/{webhook.id}",
        )

    async def one(request: Request, session: Session) -> Response:
        webhook = await hooks.find(database, session.account, request.path_params["id"])
        state = request.query_params.get("state", "")
        position = read_cursor(request.query_params.get("cursor"), str)
        found = await database.outbox.log(
            session.account,
            webhook.id,
            state=state if state in list(DeliveryState) else None,
            before=position[0] if position else None,
            limit=_PAGE + 1,
        )
        return dashboard.answer(
            request,
            "webhook.html",
            webhook=webhook,
            rows=found[:_PAGE],
            state=state,
            states=[str(value) for value in DeliveryState],
            replays=await database.replays.list(session.account, webhook.id, limit=5),
            most_batched=hooks.MOST_BATCHED,
            most_seconds=int(hooks.MOST_BATCH_SECONDS),
            cursor=write_cursor(found[_PAGE - 1].id) if len(found) > _PAGE else None,
        )

    async def switch(request: Request, session: Session, _: Fields) -> Response:
        webhook = await hooks.find(database, session.account, request.path_params["id"])
        wishes = {"disabled": not webhook.disabled}
        await hooks.change(database, session.account, webhook.id, wishes)
        return see_other(f"/dashboard/webhooks/{webhook.id}")

    async def batching(request: Request, session: Session, fields: Fields) -> Response:
        webhook = request.path_params["id"]
        wishes = {
            "batch_size": int(_number(fields, "size", 1, hooks.MOST_BATCHED)),
            "batch_seconds": _number(fields, "seconds", 0, hooks.MOST_BATCH_SECONDS),
        }
        await hooks.change(database, session.account, webhook, wishes)
        return see_other(f"/dashboard/webhooks/{webhook}")

    async def rotate(request: Request, session: Session, _: Fields) -> Response:
        found = await hooks.rotate(database, session.account, request.path_params["id"])
        return secret(request, "New secret", found)

    async def end_rotation(request: Request, session: Session, _: Fields) -> Response:
        webhook = request.path_params["id"]
        await hooks.end_rotation(database, session.account, webhook)
        return see_other(f"/dashboard/webhooks/{webhook}")

    async def call(request: Request, session: Session, fields: Fields) -> Response:
        webhook = request.path_params["id"]
        act = hooks.verify if text(fields, "kind") == "verification" else hooks.test
        await act(database, session.account, webhook)
        return see_other(f"/dashboard/webhooks/{webhook}")

    async def replay(request: Request, session: Session, fields: Fields) -> Response:
        webhook = request.path_params["id"]
        start = read_moment("start", text(fields, "start"))
        if start is None:
            raise bad_field("start", "This field is required.", code="missing")
        end = read_moment("end", text(fields, "end")) or parts.clock()
        await hooks.replay(database, session.account, webhook, start, end)
        return see_other(f"/dashboard/webhooks/{webhook}")

    async def delete(request: Request, session: Session, _: Fields) -> Response:
        if not await database.webhooks.delete(session.account, request.path_params["id"]):
            raise not_found("webhook")
        return see_other("/dashboard/webhooks")

    return [
        dashboard.page("/webhooks", listing),
        dashboard.page("/webhooks/{id}", one),
        dashboard.action("/webhooks", create),
        dashboard.action("/webhooks/{id}/switch", switch),
        dashboard.action("/webhooks/{id}/batching", batching),
        dashboard.action("/webhooks/{id}/rotate", rotate),
        dashboard.action("/webhooks/{id}/end-rotation", end_rotation),
        dashboard.action("/webhooks/{id}/call", call),
        dashboard.action("/webhooks/{id}/replay", replay),
        dashboard.action("/webhooks/{id}/delete", delete),
    ]


def _number(fields: Fields, name: str, least: float, most: float) -> float:
    try:
        value = float(text(fields, name))
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise bad_field(name, f"Give a number from {least:g} to {most:g}.")
    return value
