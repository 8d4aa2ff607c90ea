"""How fast pages and searches are with a million messages: `python -m bench.pages`.

Starts a database and an ingress-http of its own, fills the database (`page_data`), and asks for
each page twenty times. One JSON line per page: milliseconds from request to answer, the median and
the longest, with whatever else the machine does; and the processor time of the service and the
database for one answer, which other work hardly changes. Ends with 1 where a median is above 200 ms
or a page is refused.

With `--keep FOLDER` the database stays there, and is measured without filling the next time.
"""

import argparse
import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import httpx
import psutil

from bench.page_data import fill
from bench.page_paths import DASHBOARD, REST, names_of
from bench.report import say
from postroad_common.store.database import Database
from postroad_stack.document import StackDocument
from postroad_stack.stack import Stack

REPEATS = 20
MOST_MS = 200.0


def main() -> None:
    """Fill and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="folder of a stack that stays")
    parser.add_argument("--only", default="", help="pages whose path has this in it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = arguments.keep or Path(folder)
        with Stack.start(
            state / "state", only=("rabbitmq", "mongod", "ingress-http"), sink=False
        ) as stack:
            rows = _rows(stack, state / "names.json", arguments.messages, arguments.only)
            if arguments.keep is None:
                stack.stop(wipe=True)
    slow = [row for row in rows if "status" in row or float(row["median_ms"]) > MOST_MS]
    say(f"{len(rows)} pages, {len(slow)} refused or above {MOST_MS:.0f} ms")
    sys.exit(1 if slow else 0)


def _rows(stack: Stack, names: Path, count: int, only: str) -> list[dict[str, str | float]]:
    document = stack.document
    if names.exists():
        found: dict[str, str] = json.loads(names.read_text())
        asyncio.run(_prepare(document.mongodb))
    else:
        found = asyncio.run(fill(document.mongodb, count))
        names.write_text(json.dumps(found))
    rows = []
    processes = [
        psutil.Process(each.pid)
        for name in ("ingress-http", "mongod")
        for each in stack.processes(name)
        if each.pid
    ]
    for path, headers in _pages(document, found):
        if only in path:
            rows.append(_measure(document, path, headers, processes))
            print(json.dumps(rows[-1]), flush=True)
    return rows


async def _prepare(uri: str) -> None:
    """Build the indexes that are new since the database was filled."""
    database = Database(uri, patience=3600.0)
    await database.prepare()
    await database.close()


def _pages(document: StackDocument, names: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Return the paths, each with the headers that open it."""
    values = names_of(document, names)
    session = {"Cookie": _log_in(document)}
    token = {"Authorization": f"Bearer {document.token}"}
    return [(f"/dashboard{path.format(**values)}", session) for path in DASHBOARD] + [
        (path.format(**values), token) for path in REST
    ]


def _log_in(document: StackDocument) -> str:
    """Return the cookie of a new session."""
    assert document.http is not None  # noqa: S101 - it was started
    assert document.dashboard is not None  # noqa: S101 - the same
    with httpx.Client(base_url=document.http, timeout=60) as client:
        csrf = re.search(r'name="csrf" value="([^"]+)"', client.get("/dashboard/login").text)
        fields = {
            "email": document.dashboard.email,
            "password": document.dashboard.password,
            **({"csrf": csrf[1]} if csrf else {}),
        }
        client.post("/dashboard/login", data=fields)
        return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def _measure(
    document: StackDocument, path: str, headers: dict[str, str], processes: Sequence[psutil.Process]
) -> dict[str, str | float]:
    taken: list[float] = []
    status = 0
    used = _seconds(processes)
    with httpx.Client(base_url=document.http or "", timeout=300, headers=headers) as client:
        for _ in range(REPEATS):
            started = time.perf_counter()
            status = client.get(path).status_code
            taken.append((time.perf_counter() - started) * 1000)
            if status != HTTPStatus.OK:
                break
    median, most = statistics.median(taken), max(taken)
    row: dict[str, str | float] = {
        "page": path,
        "median_ms": round(median, 1),
        "most_ms": round(most, 1),
        "cpu_ms": round((_seconds(processes) - used) / len(taken) * 1000, 1),
    }
    return row if status == HTTPStatus.OK else {**row, "status": status}


def _seconds(processes: Sequence[psutil.Process]) -> float:
    """Return the processor time that the processes have used."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


if __name__ == "__main__":
    main()
