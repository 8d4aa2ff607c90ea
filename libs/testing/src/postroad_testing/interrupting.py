"""Ctrl-C in tests that may themselves run in a shell's background."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts_count() -> Iterator[None]:
    """Let SIGINT interrupt this process and those that it starts.

    A shell without job control starts its background with SIGINT ignored, which is handed down.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
