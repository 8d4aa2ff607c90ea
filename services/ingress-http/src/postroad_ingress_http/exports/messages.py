"""Messages as CSV or JSON lines, page by page, so that any number of them can be had.

CSV is for people and spreadsheets, so its times are texts (ISO 8601, UTC); JSON lines have the
fields of REST, with Unix seconds.
"""

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Literal

from postroad_common.store.messages import Criteria, MessageRecord, Messages
from postroad_ingress_http.http.csvcells import to_cell

Form = Literal["csv", "jsonl"]
MEDIA_TYPES: dict[Form, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson; charset=utf-8",
}
COLUMNS = (
    "id", "submission", "created", "updated", "state", "recipient", "envelope", "subject", "tags",
    "source", "credential", "attempts", "opens", "clicks", "size",
)  # fmt: skip
_TIMES = frozenset({"created", "updated"})
MOST = 100_000
"""Messages in one export."""
_PAGE = 500


async def export(
    messages: Messages, account: str, criteria: Criteria, form: Form
) -> AsyncIterator[bytes]:
    """Yield the export in pieces, newest first, at most `MOST` messages."""
    if form == "csv":
        yield _line(COLUMNS)
    before: str | None = None
    for _ in range(MOST // _PAGE):
        page = await messages.search(account, criteria, before=before, limit=_PAGE)
        if page:
            yield b"".join(_row(record, form) for record in page)
        if len(page) < _PAGE:
            return
        before = page[-1].id


def _row(record: MessageRecord, form: Form) -> bytes:
    if form == "jsonl":
        values = {name: getattr(record, name) for name in COLUMNS}
        return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return _line([_cell(name, getattr(record, name)) for name in COLUMNS])


def _cell(name: str, value: object) -> str:
    """Return the value as a cell that no spreadsheet takes for a formula."""
    if name in _TIMES and isinstance(value, int | float):
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ}"
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    return to_cell(text)


def _line(cells: "tuple[str, ...] | list[str]") -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue().encode("utf-8", "replace")
