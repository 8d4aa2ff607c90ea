"""What can be wrong with a template, said so that its author finds the place."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["syntax", "unknown_variable", "not_allowed", "value", "too_large", "too_slow"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault at `line` and `column`, both counted from 1, of the text in `field`.

    `mail` is the index of the recipient whose data led to it; None where every recipient's would.
    """

    kind: Kind
    message: str
    field: str
    line: int = 1
    column: int = 1
    mail: int | None = None


class TemplateError(Exception):
    """Raised for the first problem of a template."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem
