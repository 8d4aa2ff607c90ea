"""Loops and storms: two systems that bounce at each other, floods of returns, one huge return."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from postroad_bounce_processor.reporting.forward import is_loop
from postroad_common.broker.topology import RETURNS
from postroad_common.mail.mime import read
from postroad_common.schemas.events import EventName
from postroad_common.schemas.framing import encode
from postroad_common.schemas.returns import Return
from postroad_common.store.database import Database
from postroad_testing.pace import at_most, timed
from postroad_testing.process import ServiceProcess

if TYPE_CHECKING:
    from conftest import Bench  # the service's own, beside this file

DATA = Path(__file__).parent / "data"
HARD = (DATA / "postfix-user-unknown.eml").read_bytes()
VACATION = (DATA / "autoresponder-full-text.eml").read_bytes()
MEBIBYTE = 1 << 20
HEARTBEAT_SECONDS = 60.0


async def test_bounce_of_our_own_notification_leads_to_nothing(bench: "Bench"):
    """A notification goes out with the null sender; when it fails, the sender reports that."""
    await bench.failed()
    await bench.until(lambda: bool(bench.outbound))
    ((notification, _),) = bench.outbound
    assert (notification.envelope, notification.mail_from) == ("", "")
    bench.outbound.clear()
    for kind in ("dsn", "forward"):
        message = {"kind": kind, "envelope": "", "recipients": notification.recipients}
        await bench.failed(message=message)
        await bench.failed(message=message, outcome="expired")
    await bench.idle()
    assert bench.outbound == []
    assert await bench.database.suppressions.get("acc", "orders@sender.example") is None


async def test_two_systems_whose_envelopes_lead_to_each_other_stop_after_one_round(
    bench: "Bench",
):
    """Here the envelope is a bounce address of there, and the other way round."""
    here = await bench.message(envelope="b222-0@bounce.other.example")
    await bench.returned(here, HARD)
    await bench.until(lambda: len(bench.outbound) == 1)
    forwarded, body = bench.outbound.pop()
    assert forwarded.recipients[0].address == "b222-0@bounce.other.example"
    assert forwarded.mail_from == ""
    # There it is a return like any other, and is forwarded in the same way, back to us.
    assert not is_loop(read(body), "bounce.other.example")
    there = b"Received: by other\r\nX-Postroad-Forwarded: 222@bounce.other.example\r\n" + body
    assert is_loop(read(there), "bounce.other.example")
    await bench.returned(here, there)
    await bench.until(lambda: len(bench.events) == 2)
    await bench.idle()
    assert bench.outbound == []
    assert [event.facts["forwarded"] for event in bench.events] == [True, False]


async def test_responders_that_answer_every_forward_are_cut_short(bench: "Bench"):
    """A responder that answers whatever it gets, the null sender or not."""
    message = await bench.message()
    for _ in range(60):
        await bench.returned(message, VACATION)
    await bench.idle()
    assert len(bench.events) == 25
    assert len(bench.outbound) <= 25


def _memory(process: ServiceProcess, name: str) -> int:
    """VmRSS (now) or VmHWM (the peak) in MiB, see proc(5)."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) >> 10
    raise AssertionError(f"the kernel does not tell {name}")


async def test_storm_is_worked_off_with_bounded_memory_while_other_mail_goes_on(
    bench: "Bench", process: ServiceProcess
):
    """The storm is larger than the memory that the process may take for it."""
    raw = HARD + b"X" * 32 * 1024
    messages = [await bench.message(envelope="one@sender.example") for _ in range(150)]
    process.start()
    await bench.idle()
    before = _memory(process, "VmRSS")
    storm = [
        encode(
            Return(
                id=f"storm{number}",
                received=time.time(),
                mail_from="",
                recipient="b@bounce.example",
                message_id=messages[number % len(messages)],
                size=len(raw),
            ),
            raw,
        )
        for number in range(2000)
    ]
    await asyncio.gather(*(bench.put(RETURNS.name, frame) for frame in storm[:500]))
    # A failure of another mail in the midst of it is not kept waiting until the storm is over.
    await bench.failed(message={"envelope": "calm@sender.example"})
    rest = asyncio.gather(*(bench.put(RETURNS.name, frame) for frame in storm[500:]))
    await bench.until(lambda: bool(bench.sent_to("calm@sender.example")))
    assert len(bench.named(EventName.BOUNCED)) < 2000
    await rest
    await bench.until(lambda: len(bench.named(EventName.BOUNCED)) == 2000)
    grown = _memory(process, "VmHWM") - before
    assert grown < 32, f"{grown} MiB"
    # One envelope sender gets 500 forwards at once and the rest at a slow pace.
    prompt = [item for item, _ in bench.outbound if item.not_before is None]
    assert 500 <= len(prompt) < 1500
    assert await bench.count(RETURNS.name) == 0


@timed(10.0)
async def test_return_of_25_mebibytes_is_understood_while_the_loop_turns(
    bench: "Bench", mongodb_uri: str, limit: float | None
):
    raw = HARD + b"Content-Transfer-Encoding: base64\r\n" + b"QUJDREVGR0hJSktM\r\n" * 1_460_000
    assert len(raw) > 25 * MEBIBYTE
    patient = Database(mongodb_uri, patience=90.0)
    stored = await patient.bodies.put(raw, time.time() + 3600)
    await patient.close()
    message = await bench.message()
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - began)

    watcher = asyncio.create_task(watch())
    with at_most(limit):
        await bench.returned(message, raw, body=stored, size=len(raw))
        await bench.until(lambda: bool(bench.events and bench.outbound))
    watcher.cancel()
    assert bench.events[0].facts["class"] == "no-such-user"
    ((forwarded, head),) = bench.outbound
    assert forwarded.body == stored
    assert len(head) < MEBIBYTE
    assert longest < (limit or HEARTBEAT_SECONDS)
