"""Suppressions as they come in and go out: one by one, in bulk, and as CSV."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.mail.control import ControlError, parse_list
from postroad_common.store.suppressions import KINDS, Suppression, Suppressions, key_of
from postroad_ingress_http.history.addresses import read_address
from postroad_ingress_http.http.csvcells import from_cell, to_cell
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.moments import read_moment

COLUMNS = ("address", "kind", "list", "reason", "created", "expires")
GIVEN_KINDS = tuple(kind for kind in KINDS if kind != "soft")
"""What may be entered: soft bounces are counted, not entered."""
_LONGEST_REASON = 500
_TOLD = 100  # refused rows that are named
_PAGE = 500


@dataclass(slots=True)
class Imported:
    """How an import ended. `refused` has the first rows that could not be taken, from 1."""

    added: int = 0
    refused: int = 0
    problems: list[tuple[int, str, str]] = field(default_factory=list)
    """Number of the row, its address, and what is wrong with it."""


def read_target(text: str) -> str:
    """Return an address, or with `@` in front a domain, in the form of the list.

    Raises:
        ApiError: 400.
    """
    stripped = text.strip()
    if not stripped.startswith("@"):
        return read_address(stripped)
    try:
        return f"@{normalise_domain(stripped[1:])}"
    except AddressError as error:
        raise bad_field("address", f"Not a domain: {error}.") from None


def read_entry(account: str, row: Mapping[str, Any], now: float) -> Suppression:
    """Return the entry that the fields of `row` (`COLUMNS`) describe; `now` is Unix seconds.

    They are texts, or nothing; `expires` may also be a number.

    Raises:
        ApiError: 400, naming the field.
    """
    kind = (row.get("kind") or "manual").strip().lower()
    if kind not in GIVEN_KINDS:
        raise bad_field("kind", f"Give one of {', '.join(GIVEN_KINDS)}.")
    expires = read_moment("expires", row.get("expires"))
    if expires is not None and expires <= now:
        raise bad_field("expires", "This time is past.")
    reason = from_cell(row.get("reason") or "") or "entered by hand"
    if not reason.isprintable():
        raise bad_field("reason", "Only printable text is allowed here.")
    return Suppression(
        account=account,
        address=read_target(row.get("address") or ""),
        reason=reason[:_LONGEST_REASON],
        kind=kind,
        created=read_moment("created", row.get("created")) or now,
        expires=expires,
        list=read_list(row.get("list") or ""),
    )


def read_list(text: str) -> str:
    """Return the name of a list as it is kept.

    Raises:
        ApiError: 400.
    """
    try:
        return parse_list("list", text)
    except ControlError as error:
        raise bad_field("list", f"{error}.".removeprefix("list: ")) from None


def read_csv(text: str) -> list[dict[str, str | None]]:
    """Return the rows of a CSV; its first line may name the columns, else they are `COLUMNS`.

    Raises:
        ApiError: 400, it is no CSV, or has a column that is not known.
    """
    lines = io.StringIO(text.removeprefix("\ufeff"), newline="")
    try:
        rows = [row for row in csv.reader(lines, strict=True) if any(row)]
    except csv.Error as error:
        raise bad_field("csv", f"This is no CSV: {error}.") from None
    names = list(COLUMNS)
    if rows and rows[0][0].strip().lower() == "address":
        names = [name.strip().lower() for name in rows.pop(0)]
    for name in names:
        if name not in COLUMNS:
            raise bad_field("csv", f"There is no column {name[:50]!r}.")
    return [dict(zip(names, row, strict=False)) for row in rows]


async def add_all(
    store: Suppressions, account: str, rows: Iterable[Mapping[str, str | None]], now: float
) -> Imported:
    """Add what can be taken of `rows`; nothing that is there is weakened."""
    result = Imported()
    entries = []
    for number, row in enumerate(rows, 1):
        try:
            entries.append(read_entry(account, row, now))
        except ApiError as error:
            result.refused += 1
            if len(result.problems) < _TOLD:
                address = str(row.get("address") or "")[:320]
                result.problems.append((number, address, error.message))
    await store.add(entries)
    result.added = len(entries)
    return result


async def write_csv(
    store: Suppressions, account: str, *, kind: str | None, list_name: str | None
) -> AsyncIterator[str]:
    """Yield the CSV of the entries of the account, with the names of its columns, in parts."""
    yield _lines([COLUMNS])
    after = ""
    while True:
        found = await store.list(account, after=after, limit=_PAGE, kind=kind, list_name=list_name)
        if found:
            yield _lines(_row(entry) for entry in found)
            after = key_of(found[-1].address, found[-1].list)
        if len(found) < _PAGE:
            return


def _row(entry: Suppression) -> tuple[str, ...]:
    expires = "" if entry.expires is None else _time(entry.expires)
    return (
        entry.address,
        entry.kind,
        entry.list,
        to_cell(entry.reason),
        _time(entry.created),
        expires,
    )


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _lines(rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()
