"""Ports to listen on later, out of the reach of outgoing connections and of other tests."""

import itertools
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from postroad_stack.ports import PortBook

_numbers = itertools.count()


def free_port() -> int:
    """Return a free port of loopback, which neither other tests nor a stack choose meanwhile.

    It is reserved until this process of tests ends.
    """
    return _book().port(f"test-{next(_numbers)}")


@cache
def _book() -> PortBook:
    return PortBook(Path(mkdtemp(prefix="postroad-test-ports-")) / "ports.json")
