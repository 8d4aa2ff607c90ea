"""What can go wrong around a stack, in words for the person in front of the terminal."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postroad_stack.status import Failure


class StackError(Exception):
    """Something prevents what was asked. `advice` is what to do about it, '' when unknown."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class StartFailedError(StackError):
    """The stack did not become ready; `failure` has the log lines that tell why."""

    def __init__(self, failure: "Failure") -> None:
        super().__init__(f"{failure.process}: {failure.reason}", advice=failure.advice)
        self.failure = failure


class NotReadyError(Exception):
    """A process runs but does not answer yet; the text says what is missing."""


class RestError(Exception):
    """The REST API refused. `status` is the HTTP status, 0 when nothing answered."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        where = f" ({field})" if field else ""
        super().__init__(f"{message}{where}")
        self.status = status
        self.code = code
        self.field = field
