"""The one shape of every error: `{"error": {"code", "message", "field"}}`.

`ApiError` is what handlers raise; here is also how the errors of libraries (pydantic, Starlette)
and of the adapters (broker or database away) become one. Errors of dashboard pages are rendered
by `dashboard.pages` from the same `ApiError`.
"""

from collections.abc import Mapping

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from postroad_common.errors import Transient

RETRY_AFTER_SECONDS = 5
_LONGEST_FIELD = 200  # characters; names of fields are the client's

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "unprocessable",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
    504: "no_answer",
}
_MESSAGES = {
    404: "There is nothing at this path.",
    405: "This path does not take that method; the Allow header lists the ones it takes.",
}


class ApiError(Exception):
    """A refusal that the client is told: status, a stable `code`, a sentence, and the field.

    `details` are further members of the answer, for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, str | int | None] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or _CODES.get(status, "error")  # one of `codes`
        self.message = message
        self.field = field
        self.headers = dict(headers or {})
        self.details = dict(details or {})

    def response(self) -> JSONResponse:
        """Return the error as an HTTP answer."""
        return JSONResponse(self.body(), self.status, self.headers)

    def body(self) -> dict[str, dict[str, str | int | None]]:
        """Return the error as JSON has it: no lone surrogates, a field name of bounded length."""
        message = self.message.encode("utf-8", "replace").decode()
        field = self.field
        if field is not None:
            field = field.encode("utf-8", "replace").decode()[:_LONGEST_FIELD]
        return {"error": {"code": self.code, "message": message, "field": field, **self.details}}


def bad_field(field: str, message: str, *, code: str = "invalid") -> ApiError:
    """400: the value of `field` cannot be used."""
    return ApiError(400, message, code=code, field=field)


def not_found(what: str) -> ApiError:
    """404: there is no such thing in this account."""
    return ApiError(404, f"There is no such {what}.")


def unavailable(message: str) -> ApiError:
    """503 with `Retry-After`: nothing was accepted, the same request may succeed soon."""
    return ApiError(503, message, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def from_validation(error: ValidationError) -> ApiError:
    """Return the first complaint of a pydantic model, with the path of its field."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    match first["type"]:
        case "missing":
            return ApiError(400, "This field is required.", code="missing", field=field)
        case "extra_forbidden":
            return ApiError(400, "This field is not known.", code="unknown_field", field=field)
        case _:
            message = first["msg"].removeprefix("Value error, ")
            message = message[:1].upper() + message[1:]
            return ApiError(400, message.rstrip(".") + ".", code="invalid", field=field)


def from_exception(error: Exception) -> ApiError | None:
    """Return the refusal that `error` means to the client; None when it is a fault of ours."""
    match error:
        case ApiError():
            return error
        case ValidationError():
            return from_validation(error)
        case Transient():
            return unavailable("The service is not able to do this right now; try again soon.")
        case HTTPException():
            message = _MESSAGES.get(error.status_code, str(error.detail))
            return ApiError(error.status_code, message, headers=error.headers)
        case _:
            return None
