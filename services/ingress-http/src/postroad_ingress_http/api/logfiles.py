"""`/v1/logfiles`: what happened on a day as a file, for programs that take no webhooks."""

from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Annotated

from fastapi import FastAPI
from starlette.responses import Response, StreamingResponse

from postroad_common.store.database import RETENTION
from postroad_common.store.tokens import Token
from postroad_ingress_http import logformats
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.errors import not_found
from postroad_ingress_http.logfiles import names_of, pages, read_name
from postroad_ingress_http.parts import Parts

_DAYS = RETENTION // 86_400
_FORMATS = {
    "csv": "text/csv; charset=utf-8; header=absent",
    "header": "text/csv; charset=utf-8; header=present",
    "json": "application/json",
    "xml": "application/xml",
}


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "messages:read")
    tags: list[str | Enum] = ["log files"]

    @app.get("/v1/logfiles", tags=tags, summary="Days with log files")
    async def days(token: Annotated[Token, reading]) -> list[str]:
        """Dates in UTC on which anything happened, oldest first."""
        today = datetime.fromtimestamp(parts.clock(), UTC).date()
        first = today - timedelta(days=_DAYS)
        found = await parts.database.rollups.read(token.account, str(first), str(today))
        return [item.day for item in found]

    @app.get("/v1/logfiles/{name}", tags=tags, summary="The files of a day, or one file")
    async def one(name: str, token: Annotated[Token, reading]) -> Response:
        """For a date the names of its files; for a name the file, as CSV without a header."""
        try:
            day = date.fromisoformat(name)
        except ValueError:
            return await file(parts, token.account, name, "csv")
        return Response(_list(names_of(day)), media_type="application/json")

    @app.get("/v1/logfiles/{name}/{form}", tags=tags, summary="One file in another form")
    async def formed(name: str, form: str, token: Annotated[Token, reading]) -> Response:
        """`header` is CSV with a header line, `json` an array of objects, `xml` records."""
        return await file(parts, token.account, name, form)


def _list(names: list[str]) -> str:
    return "[" + ",".join(f'"{name}"' for name in names) + "]"


async def file(parts: Parts, account: str, name: str, form: str) -> Response:
    """The file, streamed from the event log.

    Raises:
        ApiError: 404, there is no such file or form.
    """
    found = read_name(name)
    if found is None or form not in _FORMATS:
        raise not_found("log file")
    kind, day = found
    records = pages(parts.database, account, kind, day)
    match form:
        case "json":
            content = logformats.write_json(kind, records)
        case "xml":
            content = logformats.write_xml(kind, records)
        case _:
            content = logformats.write_csv(kind, records, header=form == "header")
    return StreamingResponse(content, media_type=_FORMATS[form])
