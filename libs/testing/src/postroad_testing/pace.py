"""Demands on the clock, which `make test` does not make: a busy machine would break them.

A `timed` test runs in `make test` without a limit, and in `make test-speed` with one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


def timed(seconds: float) -> pytest.MarkDecorator:
    """Return the mark for a test that takes a `limit`: None, and in `make test-speed` `seconds`."""
    limit = pytest.param(seconds, id=f"within {seconds:g} s", marks=pytest.mark.speed)
    return pytest.mark.parametrize("limit", [pytest.param(None, id="at any pace"), limit])


@contextmanager
def at_most(limit: float | None) -> Iterator[None]:
    """Demand that the block takes at most `limit` seconds; None demands nothing.

    Raises:
        AssertionError: it took longer.
    """
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    if limit is not None and took > limit:
        raise AssertionError(f"took {took:.2f} s, at most {limit:g} s were allowed")
