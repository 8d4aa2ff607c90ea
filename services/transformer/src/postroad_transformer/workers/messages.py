"""What goes through the pipes between the pool and its processes: pickles."""

import pickle
from typing import Literal, NamedTuple

from postroad_common.schemas.submission import Submission
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import Template

Cause = Literal["time", "memory", "error"]


class Request(NamedTuple):
    """What is asked of the process; `seconds` are of its processor."""

    raw: bytes
    submission: Submission
    rules: Rules
    seconds: float


class WorkerAnswer(NamedTuple):
    """The template, or why there is none."""

    template: Template | None
    cause: Cause = "error"
    error: str = ""


def pack(message: Request | WorkerAnswer) -> bytes:
    """Return the octets of a message."""
    return pickle.dumps(message, protocol=5)


def unpack_answer(octets: bytes) -> WorkerAnswer:
    """Return the answer that a process of our own has packed."""
    answer: WorkerAnswer = pickle.loads(octets)  # noqa: S301 - our own process
    return answer
