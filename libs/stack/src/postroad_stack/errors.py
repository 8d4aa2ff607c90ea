"""What can go wrong around a stack, in words for the person in front of the terminal."""

from postroad_stack.status import Failure


class StackError(Exception):
    """Something prevents what was asked. `advice` is what to do about it, '' when unknown."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class StartFailedError(StackError):
    """The stack did not become ready; `failure` has the log lines that tell why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.process}: {failure.reason}", advice=failure.advice)
        self.failure = failure


class NotReadyError(Exception):
    """A process runs but does not answer yet; the text says what is missing."""
