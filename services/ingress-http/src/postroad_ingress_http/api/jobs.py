"""`/v1/jobs`: acts on all messages that a search finds."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.mail.identifiers import TIME_CHARS, new_id
from postroad_common.store.audit import current_actor
from postroad_common.store.jobs import BulkJob, Ending, Marker
from postroad_common.store.tokens import Token
from postroad_ingress_http.access.scopes import require
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS, refusals
from postroad_ingress_http.api.messages import MessageView, Searched
from postroad_ingress_http.dependencies import ClockOf, JobsOf
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.moments import MomentValue, read_moment
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)
from postroad_ingress_http.jobs.orders import find_act

router = APIRouter(prefix="/v1/jobs", tags=["messages"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
Writer = Annotated[Token, needs("messages")]
ActName = Literal["retry", "cancel", "resend", "suppress", "lift", "lift-and-resend"]


class JobSearch(BaseModel):
    """What is searched for, as in `GET /v1/messages`; all of it must be so."""

    model_config = ConfigDict(extra="forbid")

    recipient: str | None = Field(None, max_length=320)
    tag: str | None = Field(None, max_length=320)
    state: str | None = Field(None, max_length=320)
    envelope: str | None = Field(None, max_length=320)
    sender: str | None = Field(None, max_length=320)
    submission: str | None = Field(None, max_length=320)
    template: str | None = Field(None, max_length=320)
    login: str | None = Field(None, max_length=320)
    subject: str | None = Field(None, max_length=320)
    opened: bool = False
    clicked: bool = False
    complained: bool = False
    test: bool = False
    source: str | None = Field(None, max_length=20)
    start: MomentValue | None = None
    end: MomentValue | None = None


class JobFields(BaseModel):
    """An order. `confirm` is the number of messages that it is meant for."""

    model_config = ConfigDict(extra="forbid")

    act: ActName
    search: JobSearch
    confirm: int = Field(
        ge=0, description="How many messages the search finds; with another number it is refused."
    )
    job: str | None = Field(
        None,
        max_length=30,
        description="The `job` of the count: later messages are left alone, and an order that is "
        "given twice is one.",
    )


class CountView(BaseModel):
    """What a search finds. `job` is the id to order with; `newest` are a few of the messages."""

    job: str
    total: int
    newest: list[MessageView]


class ReasonView(BaseModel):
    """Why `number` messages were skipped, or failed."""

    ending: Ending
    code: str
    text: str
    number: int


class JobView(BaseModel):
    """A job. Times are Unix seconds; `by` is a token's id or a user.

    `state` is `running`, `stopping`, `stopped` or `finished`; `note` says why it waits, or ended
    early. `total` is the number of messages when it was ordered, `counts` how it ended with those
    that it is through with.
    """

    id: str
    act: str
    search: dict[str, str]
    by: str
    state: Literal["running", "stopping", "stopped", "finished"]
    total: int
    counts: dict[str, int]
    reasons: list[ReasonView]
    note: str
    created: float
    finished: float | None


class JobMessageView(BaseModel):
    """One message of a job. `made` is the id of its new message, where the act made one."""

    message: str
    ending: Ending
    code: str
    reason: str
    made: str | None


@router.get("/count", summary="Count what a job would be about")
async def count(token: Reader, jobs: JobsOf, fields: Searched, clock: ClockOf) -> CountView:
    """Return the number of messages that a search finds, and an id to order with within an hour."""
    given = {name: value for name, value in asdict(fields).items() if value}
    job_id = new_id(clock())
    found = await jobs.count(token.account, _exact(given), before=job_id[:TIME_CHARS])
    newest = [MessageView.model_validate(record) for record in found.newest]
    return CountView(job=job_id, total=found.total, newest=newest)


@router.post("", status_code=201, summary="Order a job", responses=refusals(409))
async def order(
    token: Writer,
    fields: Annotated[JobFields, body(JobFields)],
    jobs: JobsOf,
    clock: ClockOf,
) -> JobView:
    """Have an act done with each message that a search finds; it goes on by itself.

    The act needs its own scope beside `messages`: `send` or `suppressions`.
    """
    require(token.scopes, find_act(fields.act).scope, "This token")
    actor = current_actor()
    if actor is None:
        raise ApiError(403, "Nobody acts here.")
    given = fields.search.model_dump(exclude_defaults=True)
    search = {name: _text(value) for name, value in given.items()}
    job_id = fields.job or new_id(clock())
    await jobs.order(
        job_id,
        fields.act,
        _exact(search),
        actor,
        confirmed=fields.confirm,
        sender_domains=token.sender_domains,
        test=token.test,
    )
    return _view(await jobs.find(token.account, job_id))


@router.get("", summary="List jobs")
async def listing(
    token: Reader, jobs: JobsOf, cursor: Cursor = None, limit: PageSize = DEFAULT_PAGE
) -> Page[JobView]:
    """Return the latest first; they are kept for 30 days."""
    position = read_cursor(cursor, str)
    before = position[0] if position else ""
    found = await jobs.store.list(token.account, before=before, limit=limit + 1)
    return Page(
        items=[_view(job) for job in found[:limit]],
        cursor=write_cursor(found[limit - 1].id) if len(found) > limit else None,
    )


@router.get("/{job}", summary="One job")
async def one(job: str, token: Reader, jobs: JobsOf) -> JobView:
    """How far it is."""
    return _view(await jobs.find(token.account, job))


@router.get("/{job}/messages", summary="The messages of a job")
async def messages(  # noqa: PLR0917 - FastAPI passes them by name
    job: str,
    token: Reader,
    jobs: JobsOf,
    ending: Ending = "failed",
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[JobMessageView]:
    """Those that ended so, the newest first."""
    found = await jobs.find(token.account, job)
    position = read_cursor(cursor, str)
    before = position[0] if position else ""
    markers = await jobs.store.markers(found, ending, before=before, limit=limit + 1)
    return Page(
        items=[_view_message(found, marker, ending) for marker in markers[:limit]],
        cursor=write_cursor(markers[limit - 1].message) if len(markers) > limit else None,
    )


@router.post("/{job}/stop", status_code=202, summary="Stop a job", responses=refusals(409))
async def stop(job: str, token: Writer, jobs: JobsOf) -> JobView:
    """Have it end after the messages in hand; what is done stays done."""
    await jobs.stop(token.account, job)
    return _view(await jobs.find(token.account, job))


def _text(value: object) -> str:
    """Return what is searched for as a query has it."""
    if value is True:
        return "true"
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _exact(search: dict[str, str]) -> dict[str, str]:
    """Return the search with its times as moments: what is a date here is its beginning.

    Raises:
        ApiError: 400.
    """
    return search | {
        name: f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"
        for name in ("start", "end")
        if (moment := read_moment(name, search.get(name))) is not None
    }


def _view(job: BulkJob) -> JobView:
    state: Literal["running", "stopping", "stopped", "finished"] = "running"
    if job.stopped:
        state = "stopping" if job.finished is None else "stopped"
    elif job.finished is not None:
        state = "finished"
    return JobView(
        id=job.id,
        act=job.act,
        search=dict(job.search),
        by=job.actor.id,
        state=state,
        total=job.total,
        counts={str(ending): number for ending, number in job.counts.items()},
        reasons=[ReasonView(**asdict(reason)) for reason in job.reasons],
        note=job.note,
        created=job.created,
        finished=job.finished,
    )


def _view_message(job: BulkJob, marker: Marker, ending: Ending) -> JobMessageView:
    made = marker.made if ending == "done" and job.act.endswith("resend") else None
    return JobMessageView(
        message=marker.message, ending=ending, code=marker.code, reason=marker.reason, made=made
    )
