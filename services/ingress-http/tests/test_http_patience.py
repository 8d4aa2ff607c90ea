"""How long a request may wait for broker and database before its client is answered."""

import asyncio

import pytest

from postroad_ingress_http.http import patience
from postroad_ingress_http.http.patience import ANSWER_SECONDS, LEAST_SECONDS, Patience


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Yield the monotonic seconds that the module sees, to be set."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_steps_share_the_time_and_the_last_one_gets_a_least_share(clock: list[float]) -> None:
    waiting = Patience()
    assert waiting.left() == ANSWER_SECONDS
    assert waiting.left(more_follows=True) == ANSWER_SECONDS - LEAST_SECONDS
    clock[0] += 1.0
    assert waiting.left() == ANSWER_SECONDS - 1.0
    clock[0] += ANSWER_SECONDS
    assert waiting.is_over
    assert waiting.left() == LEAST_SECONDS
    assert waiting.left(more_follows=True) == LEAST_SECONDS


def test_what_the_client_takes_to_send_is_not_counted(clock: list[float]) -> None:
    waiting = Patience()
    clock[0] += 60.0
    waiting.add(60.0)
    assert not waiting.is_over
    assert waiting.left() == ANSWER_SECONDS


def test_whatever_is_begun_later_there_is_never_more_than_all(clock: list[float]) -> None:
    waiting = Patience()
    waiting.add(5.0)
    assert clock == [1000.0]
    assert waiting.left() == ANSWER_SECONDS


async def test_tasks_of_a_request_share_its_patience_and_others_have_their_own() -> None:
    async def of_a_request() -> tuple[Patience, Patience, Patience]:
        begun = patience.begin()

        async def part() -> Patience:
            return patience.current()

        return begun, *await asyncio.gather(part(), part())

    first, *parts = await asyncio.create_task(of_a_request())
    assert parts == [first, first]
    assert patience.current() is not first
