"""`/v1/logfiles`: what happened on a day as a file, for programs that take no webhooks."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response, StreamingResponse

from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import LogFilesOf
from postroad_ingress_http.exports import logformats
from postroad_ingress_http.exports.columns import names_of, read_name
from postroad_ingress_http.exports.logfiles import LogFiles
from postroad_ingress_http.http.errors import not_found

router = APIRouter(prefix="/v1/logfiles", tags=["log files"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
_FORMATS = {
    "csv": "text/csv; charset=utf-8; header=absent",
    "header": "text/csv; charset=utf-8; header=present",
    "json": "application/json",
    "xml": "application/xml",
}


@router.get("", summary="Days with log files")
async def days(token: Reader, log_files: LogFilesOf) -> list[str]:
    """Dates in UTC on which anything happened, oldest first."""
    return await log_files.days(token.account)


@router.get("/{name}", summary="The files of a day, or one file")
async def one(name: str, token: Reader, log_files: LogFilesOf) -> Response:
    """For a date the names of its files; for a name the file, as CSV without a header."""
    try:
        day = date.fromisoformat(name)
    except ValueError:
        return _file(log_files, token.account, name, "csv")
    return JSONResponse(names_of(day))


@router.get("/{name}/{form}", summary="One file in another form")
async def formed(name: str, form: str, token: Reader, log_files: LogFilesOf) -> Response:
    """`header` is CSV with a header line, `json` an array of objects, `xml` records."""
    return _file(log_files, token.account, name, form)


def _file(log_files: LogFiles, account: str, name: str, form: str) -> Response:
    """Return the file, streamed from the event log.

    Raises:
        ApiError: 404, there is no such file or form.
    """
    found = read_name(name)
    if found is None or form not in _FORMATS:
        raise not_found("log file")
    kind, day = found
    records = log_files.pages(account, kind, day)
    match form:
        case "json":
            content = logformats.write_json(kind, records)
        case "xml":
            content = logformats.write_xml(kind, records)
        case _:
            content = logformats.write_csv(kind, records, header=form == "header")
    return StreamingResponse(content, media_type=_FORMATS[form])
