"""How long a consumer waits for more, in a loop whose clock leaps to what is due next."""

import asyncio
from typing import Any, cast

import pytest
from typing_extensions import override

from postroad_common.broker.delivery import ConsumerChannel, Delivery
from postroad_common.broker.inbox import Inbox

LINGER, LONGEST = 0.2, 1.0


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait: time is what it is told to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = 1000.0
        selector = cast("Any", self)._selector
        select = selector.select

        def leap(timeout: float | None = None) -> Any:
            self._moment += timeout or 0.0
            return select(0)

        selector.select = leap

    @override
    def time(self) -> float:
        return self._moment


def delivery() -> Delivery:
    nothing = cast("Any", None)
    return Delivery(nothing, ConsumerChannel(nothing), nothing)


async def taken(arrivals: list[float], most: int) -> tuple[int, float]:
    """Take once; how many there were, and when (seconds after the first), of those `arrivals`."""
    inbox, loop = Inbox(), asyncio.get_running_loop()
    began = loop.time()
    for seconds in arrivals:
        loop.call_at(began + seconds, lambda: inbox.put(delivery()))
    batch = await inbox.take(most, LINGER, LONGEST)
    return len(batch), round(loop.time() - began, 3)


@pytest.mark.parametrize(
    ("arrivals", "most", "found"),
    [
        pytest.param([0.0], 100, (1, 0.2), id="one"),
        pytest.param([0.0, 0.03, 0.05], 100, (3, 0.2), id="one mail"),
        pytest.param([0.0, 0.15], 100, (2, 0.25), id="moving when the time is over"),
        pytest.param([n * 0.03 for n in range(100)], 100, (34, 1.0), id="without a pause"),
        pytest.param([n * 0.0001 for n in range(9)], 4, (4, 0.2), id="more than wanted"),
    ],
)
def test_waits_for_more_while_more_keep_coming(
    arrivals: list[float], most: int, found: tuple[int, float]
) -> None:
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        assert runner.run(taken(arrivals, most)) == found
