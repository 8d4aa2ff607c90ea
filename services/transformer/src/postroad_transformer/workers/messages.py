"""What goes through the pipes between the pool and its processes: pickles behind their length."""

import pickle
import struct
from typing import Literal, NamedTuple

from postroad_common.schemas.submission import Submission
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import Template

LENGTH = struct.Struct(">I")
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
    """Return a message as it goes through the pipe."""
    octets = pickle.dumps(message, protocol=5)
    return LENGTH.pack(len(octets)) + octets
