"""Waiting ends with the condition, and says what did not happen."""

import pytest

from postroad_testing.waiting import until, wait_until


async def test_until_asks_functions_and_coroutine_functions_again_until_they_say_true():
    asked: list[int] = []

    def third() -> bool:
        asked.append(1)
        return len(asked) == 3

    async def sixth() -> bool:
        asked.append(1)
        return len(asked) == 6

    await until(third)
    await until(sixth)
    assert len(asked) == 6
    wait_until(lambda: bool(asked))


async def test_until_fails_with_what_did_not_happen():
    with pytest.raises(TimeoutError, match="the cow flew"):
        await until(lambda: False, 0.01, "the cow flew")
    with pytest.raises(TimeoutError, match=r"not so within 0\.01 s"):
        wait_until(lambda: False, 0.01)


async def test_until_passes_on_what_the_condition_raises():
    async def broken() -> bool:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await until(broken)
