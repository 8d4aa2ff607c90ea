import gc
import subprocess
import sys
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


def test_what_hashing_a_password_in_a_thread_took_does_not_stay():
    code = """
import threading
from pathlib import Path
from postroad_common import memory
from postroad_common.secrets import hash_password

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

memory.use_one_arena()
before = resident()
for _ in range(2):
    thread = threading.Thread(target=hash_password, args=("secret",))
    thread.start()
    thread.join()
memory.give_back()
print(resident() - before)
"""
    done = subprocess.run(  # noqa: S603 - the code above
        (sys.executable, "-c", code), capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 8_000_000  # of 19 for each hash


def test_garbage_is_looked_for_after_thousands_of_objects_and_not_hundreds():
    usual = gc.get_threshold()
    collections: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        collections.append(phase)

    try:
        memory.collect_seldom()
        gc.collect()  # counting begins anew
        gc.callbacks.append(note)
        made = [Node() for _ in range(2_000)]
        seen = len(collections)
        made += [Node() for _ in range(memory.YOUNG)]
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*usual)
        gc.unfreeze()
    assert len(made) == 2_000 + memory.YOUNG
    assert seen == 0
    assert collections
