"""The table of ratios, and the page of the documentation that has it between two markers."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.peers.measure import Measured

REFERENCE = "postfix"
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
_HEAD = (
    "relay",
    "CPU per message",
    "accepted/s",
    "delivered/s",
    "accept p50",
    "accept p99",
    "p50 at the same load",
    "p99 at the same load",
    "p99 at half its own load",
    "memory",
    "lost",
    "duplicated",
)


def middle(runs: Sequence[Measured]) -> Measured:
    """Return the medians of the runs through one way in; what was lost or doubled is added up."""
    return Measured(
        label=runs[0].label,
        accepted=sum(run.accepted for run in runs),
        accepted_per_s=median(run.accepted_per_s for run in runs),
        delivered_per_s=median(run.delivered_per_s for run in runs),
        p50_ms=median(run.p50_ms for run in runs),
        p99_ms=median(run.p99_ms for run in runs),
        cpu_ms=median(run.cpu_ms for run in runs),
        memory_mb=max(run.memory_mb for run in runs),
        lost=sum(run.lost for run in runs),
        duplicated=sum(run.duplicated for run in runs),
        refused=sum(run.refused for run in runs),
    )


def markdown(
    full: Sequence[Measured], same: Mapping[str, Measured], own: Mapping[str, Measured]
) -> str:
    """Return the table: multiples of plain Postfix, or plain figures where it is not there.

    `full` is at full load, `same` at one load for all, `own` at half of what each can bear.
    """
    references = (
        next((one for one in full if one.label == REFERENCE), None),
        same.get(REFERENCE),
        own.get(REFERENCE),
    )
    rows = [_row((one, same.get(one.label), own.get(one.label)), references) for one in full]
    lines = [_HEAD, ("---",) * len(_HEAD), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(
    runs: tuple[Measured, Measured | None, Measured | None],
    references: tuple[Measured | None, Measured | None, Measured | None],
) -> tuple[str, ...]:
    full, same, own = runs
    reference, same_reference, own_reference = references
    return (
        full.label,
        _relative(full, reference, "cpu_ms", "ms"),
        _relative(full, reference, "accepted_per_s"),
        _relative(full, reference, "delivered_per_s"),
        _relative(full, reference, "p50_ms", "ms"),
        _relative(full, reference, "p99_ms", "ms"),
        _relative(same, same_reference, "p50_ms", "ms"),
        _relative(same, same_reference, "p99_ms", "ms"),
        _relative(own, own_reference, "p99_ms", "ms"),
        _relative(full, reference, "memory_mb", "MB"),
        str(sum(run.lost for run in runs if run)),
        str(sum(run.duplicated for run in runs if run)),
    )


def _relative(one: Measured | None, reference: Measured | None, name: str, unit: str = "") -> str:
    if one is None:
        return ""
    return ratio(getattr(one, name), getattr(reference, name) if reference else None, unit)


def ratio(value: float, reference: float | None, unit: str) -> str:
    """Return a figure as a multiple of the reference, or with its unit if there is none."""
    if not reference:
        return f"{value:,.{0 if value >= 100 else 1}f} {unit}".rstrip()
    return f"{value / reference:.2f}"


def facts(full: Sequence[Measured], rate: float, skipped: Mapping[str, str]) -> str:
    """Return what the multiples are of, and what was left out."""
    reference = next((one for one in full if one.label == REFERENCE), None)
    lines = []
    if reference is not None:
        lines.append(
            f"1 is plain Postfix: {reference.cpu_ms:.2f} ms of processor time per message, "
            f"{reference.accepted_per_s:.0f} accepted and {reference.delivered_per_s:.0f} "
            f"delivered per second, {reference.memory_mb:.0f} MB; the same load is "
            f"{rate:.0f} per second for all ({os.cpu_count()} cores, {platform.machine()})."
        )
    lines += [f"Left out: {name} ({why})." for name, why in skipped.items()]
    return " ".join(lines)


def write_between(path: Path, text: str) -> None:
    """Put the text between the markers of a page.

    Raises:
        ValueError: the page has no markers.
    """
    page = path.read_text()
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"{path} has no {BEGIN} with {END}")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
