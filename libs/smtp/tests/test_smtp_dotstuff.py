import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from postroad_smtp.client.dotstuff import is_canonical, stuff

OCTETS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"xyz", b"\0"])).map(b"".join)


def unstuff(wire: bytes) -> tuple[bytes, bytes]:
    """Return what a strict server reads: the message, and what comes after its end."""
    at = 0
    message = b""
    while True:
        end = wire.index(b"\r\n", at)
        line, at = wire[at : end + 2], end + 2
        if line == b".\r\n":
            return message, wire[at:]
        message += line.removeprefix(b".")


def in_pieces(octets: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    return [octets[a:b] for a, b in itertools.pairwise(places)]


@given(OCTETS, st.lists(st.integers(0, 10_000)), st.integers(1, 7))
def test_server_reads_the_message_with_canonical_line_ends_however_it_is_cut(
    octets: bytes, cuts: list[int], chunk: int
):
    wire = b"".join(stuff(in_pieces(octets, cuts), chunk))
    message, behind = unstuff(wire)
    expected = re.sub(rb"\r\n|\r|\n", b"\r\n", octets)
    if expected and not expected.endswith(b"\r\n"):
        expected += b"\r\n"
    assert message == expected
    assert behind == b""


@given(OCTETS, st.lists(st.integers(0, 10_000)), st.integers(1, 7))
def test_no_bare_cr_or_lf_ever_leaves(octets: bytes, cuts: list[int], chunk: int):
    wire = b"".join(stuff(in_pieces(octets, cuts), chunk))
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire)


@given(OCTETS)
def test_canonical_means_no_bare_cr_or_lf(octets: bytes):
    assert is_canonical(octets) == (not re.search(rb"\r(?!\n)|(?<!\r)\n", octets))


def test_ordinary_message_is_sent_as_it_is():
    message = b"Subject: x\r\n\r\nhello\r\n"
    assert b"".join(stuff([message])) == message + b".\r\n"


def test_memoryviews_are_taken_as_pieces():
    message = memoryview(b"Subject: x\r\n\r\n.hello\r\n")
    assert b"".join(stuff([message[:14], message[14:]])) == b"Subject: x\r\n\r\n..hello\r\n.\r\n"
