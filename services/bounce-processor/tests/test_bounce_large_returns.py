"""Returns whose content is in the store: what goes on by reference, and what is deleted when."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from postroad_bounce_processor.suppression import DAY
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.submission import BodyReference
from postroad_common.store.bodies import BodyGone
from postroad_testing.waiting import until

if TYPE_CHECKING:
    from conftest import Bench  # the service's own, beside this file

DATA = Path(__file__).parent / "data"
HARD = (DATA / "postfix-user-unknown.eml").read_bytes()


async def test_large_return_travels_on_by_reference(bench: "Bench"):
    raw = HARD + b"x" * 78 + b"\r\n" + b"QUJD\r\n" * 300_000
    stored = await bench.database.bodies.put(raw, time.time() + 3600)
    message = await bench.message()
    await bench.returned(message, raw, body=stored)
    await bench.until(lambda: bool(bench.outbound and bench.events))
    ((outbound, head),) = bench.outbound
    assert outbound.body == stored
    assert raw[: outbound.skip].endswith(b"\r\n\r\n")
    assert head.endswith(raw[: outbound.skip])
    assert outbound.size == len(head) + len(raw) - outbound.skip
    assert bench.events[0].facts["class"] == "no-such-user"


async def _stored(bench: "Bench", raw: bytes) -> BodyReference:
    """Store a return as the ingress does: for a week."""
    return await bench.database.bodies.put(raw + b"QUJD\r\n" * 20_000, time.time() + 7 * DAY)


async def _is_there(bench: "Bench", reference: BodyReference) -> bool:
    try:
        await bench.database.bodies.get(reference)
    except BodyGone:
        return False
    return True


async def _is_gone(bench: "Bench", reference: BodyReference) -> bool:
    return not await _is_there(bench, reference)


@pytest.mark.parametrize("kept", ["not forwarded", "of no message", "complaint"])
async def test_a_large_return_that_goes_nowhere_is_deleted_at_once(bench: "Bench", kept: str):
    stored = await _stored(bench, HARD)
    message = await bench.message(forward_bounces=False)
    if kept == "of no message":
        await bench.returned(new_id(), b"", body=stored, received=time.time() - DAY)
    elif kept == "complaint":
        await bench.returned("", b"", body=stored, feedback="open")
    else:
        await bench.returned(message, b"", body=stored)
    await until(lambda: _is_gone(bench, stored), what="the body is deleted")


async def test_large_returns_beyond_the_pace_are_deleted_at_once(bench: "Bench"):
    message = await bench.message(forward_bounces=False)
    for _ in range(30):
        await bench.returned(message, HARD)
    await bench.until(lambda: len(bench.events) == 25)
    stored = await _stored(bench, HARD)
    await bench.returned(message, b"", body=stored)
    await until(lambda: _is_gone(bench, stored), what="the body is deleted")


@pytest.mark.parametrize("shared", [True, False])
async def test_a_large_return_that_is_needed_still_goes_soon_after(bench: "Bench", *, shared: bool):
    stored = await _stored(bench, HARD)
    message = await bench.message(forward_bounces=not shared)
    await bench.returned(message, b"", body=stored, shared=shared)
    await bench.until(lambda: bool(bench.events))
    await bench.idle()
    await bench.database.bodies.purge(time.time() + DAY)
    assert await _is_there(bench, stored)

    async def purged() -> bool:
        await bench.database.bodies.purge(time.time() + 3 * DAY)
        return await _is_gone(bench, stored)

    await until(purged, what="the body expires within days")
