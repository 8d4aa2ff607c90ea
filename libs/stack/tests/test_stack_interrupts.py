import signal
import threading

import pytest

from postroad_stack.interrupts import interrupts_held
from postroad_testing.interrupting import interrupts_count


def test_interrupt_that_comes_meanwhile_is_delivered_at_the_end():
    done: list[str] = []

    def work() -> None:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with interrupts_count(), pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of it"]


def test_handlers_are_those_of_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with interrupts_held():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_thread_beside_the_main_one_is_left_alone():
    seen: list[bool] = []

    def look() -> None:
        with interrupts_held():
            seen.append(signal.getsignal(signal.SIGINT) is before)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [True]
