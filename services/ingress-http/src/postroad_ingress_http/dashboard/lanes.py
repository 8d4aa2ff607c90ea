"""Lanes: the list, and a page for each where operators see why and give directives."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.schemas.lanes import EffectKind, LaneEffect, LaneState, LimitKind, Phase
from postroad_ingress_http.dashboard.forms import see_other, text, texts_of
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import LanesOf
from postroad_ingress_http.http.errors import bad_field
from postroad_ingress_http.http.fields import Fields
from postroad_ingress_http.http.paging import read_cursor, write_cursor
from postroad_ingress_http.operations.directives import DirectivesChange
from postroad_ingress_http.operations.lanes import LaneView

router = APIRouter(prefix="/dashboard/lanes", include_in_schema=False)
_PAGE = 100
_EFFECTS: Mapping[EffectKind | LimitKind, str] = {
    EffectKind.CONNECTIONS: "at most {:g} connections",
    EffectKind.RATE: "at most {:.3g} messages/s",
    EffectKind.PAUSE: "nothing is sent",
    LimitKind.CAP: "at most {:g}",
    LimitKind.WARMUP: "at most {:g} a day",
}
_KINDS = [EffectKind.PAUSE, EffectKind.CONNECTIONS, EffectKind.RATE]  # as the form lists them
_SITE = "the answers of the site"


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane as a page shows it."""

    view: LaneView
    phase: Phase
    stopped: bool
    connections: str
    rate: str

    @property
    def link(self) -> str:
        """The page of the lane."""
        return page_of(self.view.key)


@dataclass(frozen=True, slots=True)
class EffectRow:
    """A restriction in force."""

    effect: LaneEffect
    text: str
    by: str
    learnt: bool


@router.get("")
async def listing(request: Request, _: SignedIn, pages: PagesOf, lanes: LanesOf) -> Response:
    """List the lanes that the filters leave."""
    query = {name: request.query_params.get(name, "").strip() for name in ("site", "phase")}
    position = read_cursor(request.query_params.get("cursor"), str)
    found = await lanes.page(
        after=position[0] if position else "",
        limit=_PAGE + 1,
        site=query["site"][:255],
        phase=query["phase"] if query["phase"] in set(Phase) else "",
    )
    return pages.answer(
        "lanes.html",
        rows=[_row(lane) for lane in found[:_PAGE]],
        filter=query,
        phases=list(Phase),
        cursor=write_cursor(found[_PAGE - 1].key) if len(found) > _PAGE else None,
    )


@router.post("")
async def direct(session: SignedIn, fields: Form, lanes: LanesOf) -> Response:
    """Give a lane one of the directives."""
    key, wish = text(fields, "key"), text(fields, "directive")
    if wish not in _CHANGES:
        raise bad_field("directive", f"One of {', '.join(_CHANGES)}.")
    change = DirectivesChange.model_validate(_CHANGES[wish](fields))
    await lanes.direct(key, change, session.email)
    site = key.partition("|")[2] or key
    where = "/dashboard/lanes" if fields.get("back") == "list" else page_of(key)
    return see_other(
        where, f"{site}: {_DONE.get(wish, 'done')}. The sender follows within seconds."
    )


@router.get("/one")
async def one(request: Request, _: SignedIn, pages: PagesOf, lanes: LanesOf) -> Response:
    """Show a lane: its state, the reasons for it, and its directives."""
    lane = await lanes.find(request.query_params.get("key", ""))
    return pages.answer(
        "lane.html",
        row=_row(lane),
        lane=lane,
        kinds=_KINDS,
        effects=[_effect(effect) for effect in lane.state.effects],
        facts=list(_facts(lane.state)),
    )


def page_of(key: str) -> str:
    """Return the path of the page of a lane."""
    return f"/dashboard/lanes/one?key={quote(key, safe='')}"


def _reason(fields: Fields) -> dict[str, Any]:
    return {"reason": text(fields, "reason").strip() or None}


def _number(fields: Fields, name: str) -> Any:
    """Return the text of a number field, None where it is empty; the model checks it."""
    return text(fields, name).strip() or None


def _cap(fields: Fields) -> dict[str, Any]:
    caps = {name: _number(fields, name) for name in ("connections", "rate")}
    return caps | _reason(fields)


def _bounce(fields: Fields) -> dict[str, Any]:
    return {"bounce": {"reply": text(fields, "reply").strip()}} | _reason(fields)


def _redirect(fields: Fields) -> dict[str, Any]:
    where = {
        "host": text(fields, "host").strip(),
        "port": text(fields, "port").strip() or 25,
        "tls": text(fields, "tls") or "opportunistic",
    }
    return {"redirect": where} | _reason(fields)


_CHANGES: Mapping[str, Callable[[Fields], dict[str, Any]]] = {
    "pause": lambda fields: {"paused": True, "drain": None} | _reason(fields),
    "drain": lambda fields: {"drain": True} | _reason(fields),
    "resume": lambda _: {"paused": None, "drain": None},
    "cap": _cap,
    "cancel": lambda _: {"cancel": _KINDS},
    "bounce": _bounce,
    "bounce no more": lambda _: {"bounce": None},
    "redirect": _redirect,
    "simulate": lambda fields: {"simulate": texts_of(fields, "simulate") or None},
    "redirect no more": lambda _: {"redirect": None},
}


_DONE: Mapping[str, str] = {
    "pause": "paused",
    "drain": "to be drained",
    "resume": "resumed",
    "cap": "the caps are set",
    "cancel": "what it learnt is forgotten",
    "bounce": "what waits is bounced",
    "bounce no more": "nothing is bounced any more",
    "redirect": "its mail is redirected",
    "simulate": "set",
    "redirect no more": "its mail goes where it belongs",
}


def _row(view: LaneView) -> LaneRow:
    """Return what is known of the lane, with directives that the sender has not read yet."""
    state, directives = view.state, view.directives
    phase = state.phase
    if phase not in {Phase.DRAINING, Phase.DRAINED}:
        if directives.drain:
            phase = Phase.DRAINING
        elif directives.paused is True:
            phase = Phase.PAUSED
    return LaneRow(
        view=view,
        phase=phase,
        stopped=directives.drain or bool(directives.paused),
        connections=f"{state.connections} of {state.window}",
        rate="-" if state.rate is None else f"{state.rate:.1f}".removesuffix(".0"),
    )


def _effect(effect: LaneEffect) -> EffectRow:
    learnt = not effect.pinned and isinstance(effect.kind, EffectKind)
    return EffectRow(
        effect=effect,
        text=_EFFECTS[effect.kind].format(effect.value).replace(" 1 connections", " 1 connection"),
        by="an operator" if effect.pinned else _SITE if learnt else "settings",
        learnt=learnt,
    )


def _facts(state: LaneState) -> Iterator[tuple[str, str | float]]:
    if state.provider is not None:
        yield "Provider", state.provider
    if state.swept:
        yield "Bounced what waited, last", float(state.swept)
