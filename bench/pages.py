"""How fast pages and searches are with many messages: `python -m bench.pages --messages 200000`.

Starts a database and an ingress-http of its own, writes the messages as feedback does (records,
events, counters), and asks for each page twenty times. One JSON line per page: milliseconds from
request to answer, the median and the longest, with whatever else the machine does.
"""

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from bench.report import say
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import Event, EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.database import Database
from postroad_common.store.rollups import RollupKey, hour_of
from postroad_stack.document import StackDocument
from postroad_stack.stack import Stack

REPEATS = 20
BATCH = 500
ACCOUNT = "main"
DASHBOARD = (
    "", "?period=month", "/messages", "/messages?recipient=r77@d7.example",
    "/messages?recipient=@d7.example", "/messages?subject=4711", "/messages?state=failed",
    "/messages?login=login3", "/messages?tag=t2", "/messages?opened=true",
    "/messages?start={day}&end={day}", "/messages?recipient=@none.example", "/messages/{id}",
    "/bounces",
)  # fmt: skip
REST = (
    "/v1/messages", "/v1/messages?recipient=@d7.example&state=delivered",
    "/v1/messages?subject=order&start={hour}", "/v1/messages/{id}", "/v1/stats",
    "/v1/events?limit=100", "/v1/events?message={id}",
)  # fmt: skip


def main() -> None:
    """Seed and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    count = parser.parse_args().messages
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack.start(Path(folder) / "state", only=("rabbitmq", "mongod", "ingress-http")) as stack,
    ):
        newest = asyncio.run(_seed(stack.document, count))
        for row in _measure(stack.document, newest):
            print(json.dumps(row))
        stack.stop(wipe=True)


async def _seed(document: StackDocument, count: int) -> str:
    """Write `count` messages of the last day, two events each; return the id of the newest."""
    database = Database(document.mongodb, patience=60.0)
    await database.prepare()
    started = time.time()
    numbers: dict[RollupKey, Counter[str]] = {}
    newest = ""
    for first in range(0, count, BATCH):
        told: list[Event] = []
        for number in range(first, min(first + BATCH, count)):
            moment = started - 86_000 * (1 - number / count)
            pair = _story(number, moment)
            newest = pair[0].message
            told += pair
            for key in (hour_of(moment), hour_of(moment)[:10]):
                rollup = numbers.setdefault(RollupKey(ACCOUNT, key, ""), Counter())
                rollup.update(str(event.event) for event in pair)
        await asyncio.gather(database.events.insert(told), database.messages.apply(told))
    days = {key: counts for key, counts in numbers.items() if len(key.day) == 10}
    await database.rollups.add(new_id(), days)
    hours = {key: counts for key, counts in numbers.items() if key not in days}
    await database.hours.add(new_id(), hours)
    await database.close()
    say(f"{count} messages written in {time.time() - started:.0f} s")
    return newest


def _story(number: int, moment: float) -> tuple[Event, Event]:
    recipient = Recipient(id=new_id(moment), address=f"r{number % 5000}@d{number % 200}.example")
    submission = Submission(
        id=new_id(moment), account=ACCOUNT, credential=f"login{number % 20}", source="smtp",
        received=moment, envelope="shop@shop.example", recipients=(recipient,),
        features=Features(), tags=(f"t{number % 10}",), subject=f"Your order {number % 9000}",
        expires=moment + 86_400, size=10_000,
    )  # fmt: skip
    name = EventName.FAILED if number % 50 == 0 else EventName.DELIVERED
    facts = {"attempt": 0, "reply": "250 2.0.0 Ok"}
    last = events.happened(name, recipient.id, moment + 1, facts, account=ACCOUNT)
    return events.accepted(submission, recipient), last


def _measure(document: StackDocument, newest: str) -> list[dict[str, str | float]]:
    values = {
        "id": newest,
        "day": f"{time.strftime('%Y-%m-%d', time.gmtime())}",
        "hour": f"{time.time() - 3600:.0f}",
    }
    assert document.http is not None  # noqa: S101 - it was started
    assert document.dashboard is not None  # noqa: S101 - the same
    with httpx.Client(base_url=document.http, timeout=60) as client:
        page = client.get("/dashboard/login").text
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        fields = {
            "email": document.dashboard.email,
            "password": document.dashboard.password,
            **({"csrf": csrf[1]} if csrf else {}),
        }
        client.post("/dashboard/login", data=fields)
        token = {"Authorization": f"Bearer {document.token}"}
        rows = [_row(client, f"/dashboard{path.format(**values)}", {}) for path in DASHBOARD]
        return rows + [_row(client, path.format(**values), token) for path in REST]


def _row(client: httpx.Client, path: str, headers: dict[str, str]) -> dict[str, str | float]:
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        answer = client.get(path, headers=headers)
        taken.append((time.perf_counter() - started) * 1000)
        answer.raise_for_status()
    median, most = statistics.median(taken), max(taken)
    return {"page": path, "median_ms": round(median, 1), "most_ms": round(most, 1)}


if __name__ == "__main__":
    main()
