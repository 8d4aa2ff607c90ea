"""Replies as servers write them, from whatever pieces they come in."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.reply import Reply
from postroad_smtp.client.replies import MAX_FLOOD, MAX_REPLY, ReplyFloodError, ReplyReader


def read(octets: bytes) -> tuple[list[Reply], ReplyReader]:
    reader = ReplyReader()
    return reader.feed(octets), reader


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"250 2.0.0 ok\r\n", Reply(250, "2.0.0", "ok")),
        (b"250\r\n", Reply(250, "", "")),
        (b"250-2.1.0 a\r\n250 2.1.0 b\r\n", Reply(250, "2.1.0", "a\nb")),
        (b"250 ok\n", Reply(250, "", "ok")),
    ],
)
def test_good_reply_is_read_and_is_not_odd(octets: bytes, reply: Reply):
    replies, reader = read(octets)
    assert replies == [reply]
    assert not reader.odd


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"250-a\r\n251 b\r\n", Reply(251, "", "a\nb")),
        (b"450-4.2.1 a\r\n250 2.0.0 b\r\n", Reply(250, "2.0.0", "a\nb")),
        (b"250-2.0.0 a\r\n550 no\r\n", Reply(550, "", "a\nno")),
        (b"queued for you\r\n250 ok\r\n", Reply(250, "", "ok")),
        (b"250-a\r\nnonsense\r\n250 b\r\n", Reply(250, "", "a\nnonsense\nb")),
        (b"\r\n250 ok\r\n", Reply(250, "", "ok")),
        (b"250ok\r\n", Reply(250, "", "ok")),
        (b" 250 ok\r\n", Reply(250, "", "ok")),
        (b"\x00250\tok\r\n", Reply(250, "", " ok")),
    ],
)
def test_odd_reply_has_the_code_of_its_last_line(octets: bytes, reply: Reply):
    replies, reader = read(octets)
    assert replies == [reply]
    assert reader.odd


@pytest.mark.parametrize(
    "octets",
    [
        b"250 " + b"x" * 500_000 + b"\r\n",
        b"250-" + b"x" * 3000 + b"\r\n250 ok\r\n",
        b"".join(b"250-%0100d\r\n" % number for number in range(5000)) + b"250 ok\r\n",
        b"x" * 9000 + b"\r\n250 ok\r\n",
    ],
)
def test_long_reply_is_cut_and_positive(octets: bytes):
    replies, reader = read(octets)
    assert [reply.code for reply in replies] == [250]
    assert len(replies[0].text) <= MAX_REPLY + 400
    assert reader.odd


@pytest.mark.parametrize("octets", [b"250-a\r\n", b"250-a\r\n250", b"250 ok", b"250", b"250 ok\r"])
def test_reply_that_never_ends_counts_as_far_as_it_came(octets: bytes):
    replies, reader = read(octets)
    assert not replies
    assert not reader.is_between
    last = reader.finish()
    assert last is not None
    assert last.code == 250
    assert reader.odd


@pytest.mark.parametrize("octets", [b"", b"hello\r\n", b"2x0 ok\r\n", b"25", b"999 a", b"2500"])
def test_what_has_no_code_is_no_reply(octets: bytes):
    replies, reader = read(octets)
    assert not replies
    assert bool(reader.rubbish) is bool(octets)
    assert reader.finish() is None


def test_octets_without_end_are_a_flood():
    reader = ReplyReader()
    for _ in range(MAX_FLOOD // 10_000):
        assert not reader.feed(b"250-" + b"x" * 9_996)
    with pytest.raises(ReplyFloodError):
        reader.feed(b"x" * 10_000)


def test_line_without_a_code_after_a_reply_leaves_the_reader_between_replies_but_not_clear():
    replies, reader = read(b"220 go\r\nby the way\r\n")
    assert len(replies) == 1
    assert reader.is_between
    assert not reader.is_clear


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_pieces_do_not_matter(octets: bytes, cuts: list[int]):
    whole, reader = read(octets)
    pieces = ReplyReader()
    found: list[Reply] = []
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    for start, end in pairwise(edges):
        found += pieces.feed(octets[start:end])
    assert found == whole
    assert pieces.finish() == reader.finish()
    assert pieces.odd == reader.odd


_LINES = st.lists(
    st.tuples(st.integers(200, 599), st.text(st.characters(codec="ascii", categories="LN"))),
    min_size=1,
    max_size=4,
)


@given(_LINES, st.lists(st.sampled_from([b"", b"hello", b"-", b"\xff\xfe", b"12 x"]), max_size=3))
def test_first_digit_of_the_last_line_decides_whatever_comes_before(
    lines: list[tuple[int, str]], stray: list[bytes]
):
    *first, (code, text) = lines
    octets = b"".join(f"{one}-{words}\r\n".encode() for one, words in first)
    octets += b"".join(line + b"\r\n" for line in stray)
    replies, _ = read(octets + f"{code} {text}\r\n".encode())
    assert [reply.code for reply in replies] == [code]
