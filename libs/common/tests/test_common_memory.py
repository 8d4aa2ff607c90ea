import gc
import weakref

from postroad_common import memory


class Node:
    """Something that can be part of a cycle."""

    def __init__(self) -> None:
        self.other = self


def test_cycles_are_collected_and_the_process_goes_on() -> None:
    gc.disable()
    try:
        gone = weakref.ref(Node())
        assert gone() is not None
        memory.give_back()
        assert gone() is None
    finally:
        gc.enable()
