"""The refusals that every end point may answer, for the OpenAPI document."""

from typing import Any

from pydantic import BaseModel

from postroad_ingress_http.http.codes import ErrorCode

EXPLANATIONS = {
    400: "Something in the request is wrong; `error.field` names it.",
    401: "No valid token.",
    403: "The token lacks the scope.",
    404: "There is no such thing.",
    406: "`Accept` excludes what this answers with.",
    409: "It conflicts with what is there.",
    413: "The body is too large.",
    415: "The body has a content type that is not taken.",
    422: "A template cannot be read or filled; the error says where.",
    429: "Too many requests; see Retry-After.",
    503: "The broker or the database is away; nothing was accepted. See Retry-After.",
    504: "No transformer has answered in time; see Retry-After.",
}


class ErrorDetail(BaseModel):
    """What went wrong: a stable code, a sentence, and the field it is about."""

    code: ErrorCode
    message: str
    field: str | None = None
    template: str | None = None
    line: int | None = None
    column: int | None = None


class ErrorBody(BaseModel):
    """Every error has this shape."""

    error: ErrorDetail


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the entries of FastAPI's `responses` for these statuses.

    `openapi` adds the shape, `ErrorBody`: as their `model` FastAPI would build a serializer for
    each status of each route, 800 in all, and use none.
    """
    return {status: {"description": EXPLANATIONS[status]} for status in statuses}


REFUSALS = refusals(400, 401, 403, 406, 429, 503)
