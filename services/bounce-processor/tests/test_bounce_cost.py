"""What understanding a return costs, as a ratio in one run: the machine does not matter."""

import email
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.mime import read

MAILS = [path.read_bytes() for path in sorted((Path(__file__).parent / "data").glob("*.eml"))]


def _seconds(work: Callable[[bytes], object]) -> float:
    """Return the least processor time for all mails of three rounds, each with mails of its own."""
    best = float("inf")
    for number in range(3):
        mails = [raw.replace(b"order-1017", b"order-%d" % number) for raw in MAILS]
        begun = time.process_time()
        for raw in mails:
            work(raw)
        best = min(best, time.process_time() - begun)
    return best


@pytest.mark.speed
def test_understanding_costs_less_than_four_times_what_the_standard_parser_does():
    understanding = _seconds(lambda raw: understand(read(raw), expected="kim@example.net"))
    parsing = _seconds(email.message_from_bytes)
    assert understanding < 4 * parsing
