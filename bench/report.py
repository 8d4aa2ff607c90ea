"""Prints results: progress, a table for people, one JSON line per row for programs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from bench.measure import Result

_MEGABYTE = 1024 * 1024
_REFERENCE = "reference-aiosmtpd"
_RATIO = "x aiosmtpd"
_SMALL_SHARE = 0.01


def say(text: str) -> None:
    """Print a line of progress on standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def json_line(result: Result) -> str:
    """Print a row for programs."""
    return json.dumps(asdict(result))


def tables(results: Sequence[Result]) -> str:
    """Print the results in three tables."""
    reference = next((one for one in results if one.row == _REFERENCE), None)
    unit = reference.cpu_ms_per_message if reference else 0.0
    head = ["row", "accepted/s", "delivered/s", "p50 ms", "p99 ms", "CPU ms/msg", "messages"]
    if unit:
        head.append(_RATIO)
    measured = [result for result in results if result.cpu_ms]
    groups, others = _groups(measured)
    parts = [
        _table(head, [_speed(result, unit) for result in results]),
        "CPU milliseconds per message, by process",
        _table(
            ["row", *groups, "others", "sum"],
            [
                [
                    result.row,
                    *(_number(result.cpu_ms.get(group), 3) for group in groups),
                    _number(sum(result.cpu_ms.get(group, 0.0) for group in others), 3),
                    _number(result.cpu_ms_per_message, 3),
                ]
                for result in measured
            ],
        ),
        "Peak memory in MB, by process",
        _table(
            ["row", *groups, "others"],
            [
                [
                    result.row,
                    *(_megabytes(result, [group]) for group in groups),
                    _megabytes(result, others),
                ]
                for result in measured
            ],
        ),
    ]
    problems = [f"{result.row}: {result.problem}" for result in results if result.problem]
    return "\n\n".join([*parts, *problems])


def _groups(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Return the groups with a column of their own, and those that use hardly any time."""
    names = dict.fromkeys(name for result in results for name in result.cpu_ms)
    busy = {
        name
        for result in results
        for name, cpu in result.cpu_ms.items()
        if cpu > _SMALL_SHARE * result.cpu_ms_per_message
    }
    return [name for name in names if name in busy], [name for name in names if name not in busy]


def _megabytes(result: Result, groups: Sequence[str]) -> str:
    peaks = [result.peak_memory[group] for group in groups if group in result.peak_memory]
    return _number(sum(peaks) / _MEGABYTE, 0) if peaks else ""


def _speed(result: Result, unit: float) -> list[str]:
    cells = [
        result.row,
        _number(result.accepted_per_s, 0),
        _number(result.delivered_per_s, 0),
        _number(result.accept_ms_p50, 1),
        _number(result.accept_ms_p99, 1),
        _number(result.cpu_ms_per_message, 3),
        str(result.delivered or result.accepted),
    ]
    if unit:
        cells.append(_number(result.cpu_ms_per_message / unit, 2))
    return cells


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])
