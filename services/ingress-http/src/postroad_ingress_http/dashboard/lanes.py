"""Lanes: the list, and a page for each where operators see why and give directives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_ingress_http.dashboard.forms import see_other, text, texts_of
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import LanesOf
from postroad_ingress_http.http.errors import bad_field
from postroad_ingress_http.http.fields import Fields
from postroad_ingress_http.http.paging import read_cursor, write_cursor
from postroad_ingress_http.operations.directives import KINDS, LaneDirectives
from postroad_ingress_http.operations.lanes import PHASES, Lane

router = APIRouter(prefix="/dashboard/lanes", include_in_schema=False)
_PAGE = 100
_EFFECTS = {
    "connections": "at most {:g} connections",
    "rate": "at most {:.3g} messages/s",
    "pause": "nothing is sent",
    "cap": "at most {:g}",
    "warmup": "at most {:g} a day",
}
_SITE = "the answers of the site"


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane as a page shows it."""

    view: Lane
    phase: str
    stopped: bool
    connections: str
    rate: str
    reason: str

    @property
    def link(self) -> str:
        """The page of the lane."""
        return _page_of(self.view.key)


@dataclass(frozen=True, slots=True)
class EffectRow:
    """A restriction in force."""

    kind: str
    text: str
    reason: str
    since: float | None
    until: float | None
    by: str
    learnt: bool
    simulated: bool


@router.get("")
async def listing(request: Request, _: SignedIn, pages: PagesOf, lanes: LanesOf) -> Response:
    """List the lanes that the filters leave."""
    query = {name: request.query_params.get(name, "").strip() for name in ("site", "phase")}
    position = read_cursor(request.query_params.get("cursor"), str)
    found = await lanes.page(
        after=position[0] if position else "",
        limit=_PAGE + 1,
        site=query["site"][:255],
        phase=query["phase"] if query["phase"] in PHASES else "",
    )
    return pages.answer(
        "lanes.html",
        rows=[_row(lane) for lane in found[:_PAGE]],
        filter=query,
        phases=PHASES,
        cursor=write_cursor(found[_PAGE - 1].key) if len(found) > _PAGE else None,
    )


@router.post("")
async def direct(session: SignedIn, fields: Form, lanes: LanesOf) -> Response:
    """Give a lane one of the directives."""
    key, wish = text(fields, "key"), text(fields, "order")
    if wish not in _DIRECTIVES:
        raise bad_field("order", f"One of {', '.join(_DIRECTIVES)}.")
    await lanes.direct(key, LaneDirectives.model_validate(_DIRECTIVES[wish](fields)), session.email)
    return see_other("/dashboard/lanes" if fields.get("back") == "list" else _page_of(key))


@router.get("/one")
async def one(request: Request, _: SignedIn, pages: PagesOf, lanes: LanesOf) -> Response:
    """Show a lane: its state, the reasons for it, and its directives."""
    lane = await lanes.find(request.query_params.get("key", ""))
    effects = lane.state.get("effects")
    return pages.answer(
        "lane.html",
        row=_row(lane),
        lane=lane,
        kinds=KINDS,
        effects=[
            _effect(effect)
            for effect in (effects if isinstance(effects, list) else ())
            if isinstance(effect, dict)
        ],
        facts=[
            (name, lane.state[name])
            for name in ("provider", "warmup", "swept")
            if isinstance(lane.state.get(name), str | int | float)
        ],
    )


def _page_of(key: str) -> str:
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


_DIRECTIVES: Mapping[str, Callable[[Fields], dict[str, Any]]] = {
    "pause": lambda fields: {"paused": True, "drain": None} | _reason(fields),
    "drain": lambda fields: {"drain": True} | _reason(fields),
    "resume": lambda _: {"paused": None, "drain": None},
    "cap": _cap,
    "cancel": lambda _: {"cancel": list(KINDS)},
    "bounce": _bounce,
    "bounce no more": lambda _: {"bounce": None},
    "redirect": _redirect,
    "simulate": lambda fields: {"simulate": texts_of(fields, "simulate") or None},
    "redirect no more": lambda _: {"redirect": None},
}


def _row(view: Lane) -> LaneRow:
    """Return what is known of the lane's state, which the sender decides."""
    state, order = view.state, view.order
    stopped = bool(order.get("paused") or order.get("drain"))
    phase = str(state.get("phase") or "idle")
    if order.get("drain") and not phase.startswith("drain"):
        phase = "draining"  # the sender has not read it yet
    elif order.get("paused") is True and not phase.startswith("drain"):
        phase = "paused"
    return LaneRow(
        view=view,
        phase=phase,
        stopped=stopped,
        connections=f"{_shown(state, 'connections')} of {_shown(state, 'window')}",
        rate=_shown(state, "rate"),
        reason=str(state.get("reason") or ""),
    )


def _effect(effect: Mapping[str, Any]) -> EffectRow:
    kind, value = str(effect.get("kind")), _float(effect.get("value"))
    form = _EFFECTS.get(kind, "{:g}")
    by = "an operator" if effect.get("pinned") is True else _SITE if kind in KINDS else "settings"
    return EffectRow(
        kind=kind,
        text=form.format(value if value is not None else 0.0),
        reason=str(effect.get("reason") or ""),
        since=_float(effect.get("since")),
        until=_float(effect.get("until")),
        by=by,
        learnt=by == _SITE,
        simulated=effect.get("simulated") is True,
    )


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _shown(state: Mapping[str, Any], name: str) -> str:
    value = state.get(name)
    if isinstance(value, int | float):
        return f"{value:.1f}".removesuffix(".0")
    return "-"
