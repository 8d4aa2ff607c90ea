"""Room for stored bodies: large mail to slow receivers does not take all the memory."""

import asyncio

import pytest

from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import BodyReference
from postroad_sender.delivery.body_room import BodyRoom, BodyRoomFullError
from postroad_testing.factories import outbound
from postroad_testing.waiting import until


def large(file: str, octets: int) -> OutboundMessage:
    return outbound(body=BodyReference(file=file, size=octets))


class Attempts:
    """Attempts that go on until they are let go; `under_way` are the files of those with room."""

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._ends: dict[asyncio.Task[None], asyncio.Event] = {}
        self.under_way: list[str] = []

    def begin(self, file: str, octets: int) -> asyncio.Task[None]:
        end = asyncio.Event()

        async def attempt() -> None:
            async with self._room.hold(large(file, octets)):
                self.under_way.append(file)
                await end.wait()
                self.under_way.remove(file)

        task = asyncio.create_task(attempt())
        self._ends[task] = end
        return task

    async def end(self, task: asyncio.Task[None]) -> None:
        self._ends[task].set()
        await task


async def test_bodies_wait_in_turn_for_room_and_a_shared_one_counts_once():
    attempts = Attempts(BodyRoom(100))
    first, shared = attempts.begin("a", 60), attempts.begin("a", 60)
    second, small = attempts.begin("b", 60), attempts.begin("c", 10)
    await until(lambda: attempts.under_way == ["a", "a"])
    await attempts.end(first)
    assert attempts.under_way == ["a"]
    await attempts.end(shared)
    await until(lambda: attempts.under_way == ["b", "c"])
    await attempts.end(second)
    await attempts.end(small)


async def test_body_larger_than_the_room_goes_alone_and_who_gives_up_keeps_no_other():
    attempts = Attempts(BodyRoom(100))
    huge = attempts.begin("huge", 1000)
    await until(lambda: attempts.under_way == ["huge"])
    impatient, small = attempts.begin("other", 1000), attempts.begin("small", 1)
    await asyncio.sleep(0)
    impatient.cancel()
    await attempts.end(huge)
    await until(lambda: attempts.under_way == ["small"])
    await attempts.end(small)


async def test_attempt_that_finds_no_room_in_time_is_told_so():
    room = BodyRoom(100, within=0.01)
    async with room.hold(large("a", 80)):
        with pytest.raises(BodyRoomFullError):
            async with room.hold(large("b", 80)):
                pass
        async with room.hold(outbound()):  # what the frame carries needs none
            pass
    async with room.hold(large("b", 80)):
        pass
