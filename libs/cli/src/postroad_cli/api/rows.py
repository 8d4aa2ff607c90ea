"""Shows what the REST API answers: tables for people, JSON for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from postroad_cli.terminal import console, echo, echo_json
from postroad_cli.times import moment
from postroad_stack.rest import Json, RestClient

_PAGE = 200
_TIMES = frozenset(
    {
        "created",
        "updated",
        "changed",
        "due",
        "sendat",
        "expires",
        "checked",
        "time",
        "last_used",
        "last_login",
    }
)


def fetch(api: RestClient, path: str, *, limit: int, **query: str | int) -> Iterator[Json]:
    """Yield the items of a list, page by page, `limit` of them at most.

    A page may be empty and not the last: a search goes on.
    """
    cursor: str | None = None
    while limit > 0:
        page = {**query, "limit": min(limit, _PAGE), **({"cursor": cursor} if cursor else {})}
        answer = api.call("GET", path, query=page)
        items: list[Json] = answer["items"]
        yield from items[:limit]
        limit -= len(items)
        cursor = answer.get("cursor")
        if not cursor:
            return


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print a list: the named columns as a table, or everything as JSON."""
    if as_json:
        echo_json(list(rows))
        return
    if not rows:
        echo("none")
        return
    from rich.table import Table  # noqa: PLC0415 -- rich takes 60 ms to import
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(column, row.get(column))) for column in columns))
    screen = console()
    if not screen.is_terminal:
        # Another program reads it: a row must stay one line, however long.
        screen.width = 10_000
    screen.print(table)


def show_one(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing: a line for each of its fields, or JSON."""
    if as_json:
        echo_json(row)
        return
    width = max(map(len, row), default=0)
    for name, value in row.items():
        echo(f"{name:<{width}}  {_cell(name, value)}")


def _cell(name: str, value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() | float() if name in _TIMES:
            return moment(value)
        case dict() if value and all(isinstance(switch, bool) for switch in value.values()):
            return " ".join(key for key, switch in value.items() if switch) or "-"
        case dict():
            return json.dumps(value, ensure_ascii=False) if value else "-"
        case list():
            return _list(value)
        case _:
            return str(value)


def _list(values: list[Any]) -> str:
    if any(isinstance(value, dict) for value in values):
        return "".join(f"\n  {json.dumps(value, ensure_ascii=False)}" for value in values)
    return " ".join(map(str, values)) or "-"
