"""What is measured: one row per kind of mail and way it takes."""

import dataclasses
import fnmatch
from dataclasses import dataclass
from enum import StrEnum

from bench.mails import Kind


class Through(StrEnum):
    """What the mail goes through, in the order in which they are started."""

    SINK = "sink"
    AIOSMTPD = "aiosmtpd"
    DISCARD = "discard"
    INGRESS = "ingress"
    STACK = "stack"


@dataclass(frozen=True)
class Row:
    """One measurement. `count` is how many messages are sent at most, without the warm-up.

    `pipelined`: MAIL, RCPT and DATA leave in one go, else one by one.
    """

    name: str
    kind: Kind
    through: Through
    features: bool
    count: int
    warm_up: int
    pipelined: bool = True


def _both_ways(name: str, through: Through) -> tuple[Row, Row]:
    """Return the rows of the 10 kB mail, pipelined and in lock-step."""
    row = Row(name, Kind.HTML, through, features=False, count=4_000, warm_up=200)
    return row, dataclasses.replace(row, name=f"{name}-lockstep", pipelined=False)


ROWS = (
    Row("reference-sink", Kind.HTML, Through.SINK, features=False, count=8_000, warm_up=200),
    *_both_ways("reference-aiosmtpd", Through.AIOSMTPD),
    *_both_ways("ingress-discard", Through.DISCARD),
    *_both_ways("ingress-confirm", Through.INGRESS),
    Row("html-10k-on", Kind.HTML, Through.STACK, features=True, count=4_000, warm_up=200),
    Row("html-10k-off", Kind.HTML, Through.STACK, features=False, count=4_000, warm_up=200),
    Row("text-1k-on", Kind.TEXT, Through.STACK, features=True, count=4_000, warm_up=200),
    Row("text-1k-off", Kind.TEXT, Through.STACK, features=False, count=4_000, warm_up=200),
    Row("attach-200k-on", Kind.ATTACHMENT, Through.STACK, features=True, count=500, warm_up=20),
    Row("attach-200k-off", Kind.ATTACHMENT, Through.STACK, features=False, count=500, warm_up=20),
)


def chosen(patterns: list[str]) -> list[Row]:
    """Return the rows that a shell pattern names, in the usual order; all without patterns."""
    return [
        row
        for row in ROWS
        if not patterns or any(fnmatch.fnmatch(row.name, pattern) for pattern in patterns)
    ]
