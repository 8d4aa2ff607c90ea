"""Acts on all messages of a search: counted and confirmed, their progress and their ends."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.mail.identifiers import new_id
from postroad_common.store.audit import current_actor
from postroad_common.store.jobs import ENDINGS, BulkJob, Ending
from postroad_ingress_http.access.scopes import require
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.searching import asked_by, page_of, search_in, told
from postroad_ingress_http.dashboard.sessions import DashboardSession
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import ClockOf, JobsOf, MessageStore
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.paging import read_cursor, write_cursor
from postroad_ingress_http.jobs.acts import ACTS, Act
from postroad_ingress_http.jobs.orders import find_act

router = APIRouter(prefix="/dashboard/jobs", include_in_schema=False)
_PAGE = 50
_REFRESH_SECONDS = 3
COUNT_SECONDS = 0.05


@router.get("")
async def listing(session: SignedIn, pages: PagesOf, jobs: JobsOf) -> Response:
    """List the jobs of the account, the latest first."""
    found = await jobs.store.list(session.account)
    return pages.answer("jobs.html", rows=found, acts=ACTS)


@router.get("/new")
async def confirm(
    request: Request, session: SignedIn, pages: PagesOf, jobs: JobsOf, clock: ClockOf
) -> Response:
    """Show how many messages an act would be about, and ask whether it is meant."""
    act = _allowed(session, request.query_params.get("act", ""))
    search = asked_by(request)
    job_id = new_id(clock())
    found = await jobs.count(session.account, search, seconds=COUNT_SECONDS)
    return pages.answer(
        "job_new.html",
        act=act,
        found=found,
        search=search,
        told=told(search),
        back=page_of(search),
        job_id=job_id,
    )


@router.post("")
async def order(session: SignedIn, fields: Form, jobs: JobsOf) -> Response:
    """Have it done, and show how it goes."""
    act = _allowed(session, text(fields, "act"))
    job_id = text(fields, "job")
    actor = current_actor()
    if actor is None:
        raise ApiError(403, "Nobody acts here.")
    await jobs.order(job_id, act.name, search_in(fields), actor)
    return see_other(f"/dashboard/jobs/{job_id}", "Ordered. It goes on by itself.")


@router.get("/{job_id}")
async def one(  # noqa: PLR0917 - FastAPI passes them by name
    job_id: str,
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    jobs: JobsOf,
    messages: MessageStore,
) -> Response:
    """Show how far a job is, and its messages by how it ended with them."""
    job = await jobs.find(session.account, job_id)
    ending = _ending(request.query_params.get("ending") or _first(job))
    position = read_cursor(request.query_params.get("cursor"), str)
    before = position[0] if position else ""
    markers = await jobs.store.markers(job, ending, before=before, limit=_PAGE + 1)
    shown = markers[:_PAGE]
    records = await messages.find_many(marker.message for marker in shown)
    return pages.answer(
        "job.html",
        job=job,
        act=ACTS.get(job.act),
        told=told(job.search),
        back=page_of(job.search),
        endings=ENDINGS,
        ending=ending,
        rows=[(marker, records.get(marker.message)) for marker in shown],
        refresh=_REFRESH_SECONDS if job.finished is None else None,
        cursor=write_cursor(shown[-1].message) if len(markers) > _PAGE else None,
    )


@router.post("/{job_id}/stop")
async def stop(job_id: str, session: SignedIn, _: Form, jobs: JobsOf) -> Response:
    """Have it end where it is."""
    await jobs.stop(session.account, job_id)
    return see_other(f"/dashboard/jobs/{job_id}", "It stops after the messages in hand.")


def _allowed(session: DashboardSession, name: str) -> Act:
    act = find_act(name)
    require(session.scopes, act.scope, f"Your role ({session.role})")
    return act


def _first(job: BulkJob) -> Ending:
    """Return the list that is shown first: the one that needs looking at."""
    return next((ending for ending in ("failed", "skipped") if job.counts[ending]), "done")


def _ending(name: str) -> Ending:
    for ending in ENDINGS:
        if ending == name:
            return ending
    raise bad_field("ending", f"One of {', '.join(ENDINGS)}.")
