"""Reading lines, DATA and BDAT out of octets that arrive in any pieces."""

import asyncio
import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_smtp.server.chunking import Chunks, parse_bdat
from postroad_smtp.server.data import EndOfData, read_data
from postroad_smtp.server.errors import (
    FloodError,
    LineEndsError,
    NoMemoryError,
    TooLargeError,
    UncleanEndError,
)
from postroad_smtp.server.lineends import LineEnds, from_data
from postroad_smtp.server.stream import (
    ClientGoneError,
    LineEndError,
    LineTooLongError,
    SmtpStream,
)

ROOM = 1 << 30
CLEAN = st.binary(max_size=30).map(lambda octets: re.sub(rb"[\r\n\0]", b"", octets))
PIECES = st.lists(st.integers(1, 9), max_size=20)


class Room:
    """Memory for one message of at most `most` octets."""

    def __init__(self, most: int) -> None:
        self.most = most

    def grow(self, size: int) -> bool:
        return size <= self.most


def in_pieces(octets: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(octets[:size])
        octets = octets[size:]
    return [piece for piece in [*pieces, octets] if piece]


def feed(stream: SmtpStream, pieces: list[bytes]) -> "asyncio.Task[None]":
    async def run() -> None:
        for piece in pieces:
            stream.feed_data(piece)
            await asyncio.sleep(0)
        stream.feed_eof()

    return asyncio.get_running_loop().create_task(run())


def read(
    octets: bytes,
    sizes: list[int],
    limit: int = 10_000,
    room: int = ROOM,
    line_ends: LineEnds = LineEnds.REPAIR,
    kept: int | None = None,
):
    """Return the message and what is left after its end."""

    async def run() -> Any:
        stream = SmtpStream(asyncio.get_running_loop())
        feeding = feed(stream, in_pieces(octets, sizes))
        content = await read_data(stream, limit, Room(room), line_ends, kept)
        await feeding
        return content.octets, bytes(await stream.take()) if not stream.at_end else b""

    return asyncio.run(run())


def stuffed(lines: list[bytes]) -> bytes:
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)


LINES = st.lists(st.text(".a \t-", max_size=8).map(str.encode), max_size=12)


@given(lines=LINES, rest=st.binary(max_size=20), sizes=PIECES)
def test_what_was_stuffed_is_read_whole_in_any_pieces_and_the_rest_is_left(
    lines: list[bytes], rest: bytes, sizes: list[int]
):
    message, left = read(stuffed(lines) + b".\r\n" + rest, sizes)
    assert message == b"".join(line + b"\r\n" for line in lines)
    assert left == rest


@given(octets=st.text("\r\n.a", max_size=30).map(str.encode), sizes=PIECES)
def test_only_crlf_dot_crlf_ends_the_data(octets: bytes, sizes: list[int]):
    framed = b"\r\n" + octets
    try:
        _, left = read(octets, sizes)
    except UncleanEndError:
        stripped = octets.replace(b"\r\n", b"")
        assert b"\r" in stripped or b"\n" in stripped
    except ClientGoneError:
        assert b"\r\n.\r\n" not in framed
    except LineEndsError:
        assert not expected_of(framed[: framed.index(b"\r\n.\r\n") + 2])
    else:
        end = framed.index(b"\r\n.\r\n")
        assert left == framed[end + 5 :]


def lines_of(wire: bytes) -> list[tuple[bytes, bytes]]:
    """Return each line with its own end, a lone CR being part of a line."""
    parts = re.split(rb"(\r\n|\n)", wire)
    return list(zip(parts[::2], parts[1::2], strict=False))


def expected_of(wire: bytes) -> list[bytes]:
    """Return the lines that `wire`, which starts with one CRLF too many, means; [] if refused."""
    lines = lines_of(wire)
    meant = []
    for (_, before), (line, after) in itertools.pairwise(lines):
        if b"\r" in line or b"\0" in line or (line == b"." and b"\n" in {before, after}):
            return []
        if before == b"\r\n" or line.startswith(b".."):
            line = line.removeprefix(b".")  # noqa: PLW2901 - as the wire has it
        meant.append(line)
    return meant


@given(
    octets=st.lists(
        st.sampled_from([b"\r\n", b"\n", b"\n..", b"\n.", b"\r\n..", b"a", b".", b"\0", b"\r"]),
        min_size=1,
        max_size=12,
    ).map(b"".join)
)
def test_a_lone_lf_is_repaired_and_what_could_end_a_message_elsewhere_is_refused(octets: bytes):
    wire = b"\r\n" + octets + b"\r\n"
    if b"\r\n.\r\n" in wire:
        return
    expected = expected_of(wire)
    try:
        message, _ = read(octets + b"\r\n.\r\n", [])
    except (LineEndsError, UncleanEndError):
        assert expected == []
    else:
        assert message == b"".join(line + b"\r\n" for line in expected)


@given(octets=st.text("\r\n.a\0", max_size=30).map(str.encode), sizes=PIECES)
def test_any_line_ends_are_made_crlf_where_that_is_asked_for(octets: bytes, sizes: list[int]):
    if b"\r\n.\r\n" in b"\r\n" + octets + b"\r\n":
        return
    message, left = read(octets + b"\r\n.\r\nNOOP\r\n", sizes, line_ends=LineEnds.ANY)
    assert left == b"NOOP\r\n"
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", message)
    assert message.count(b"a") == octets.count(b"a")


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"a: b\r\r\n\r\r\nc\r\r\n", b"a: b\r\n\r\nc\r\n"),
        (b"a\r\r\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\r\rb\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\n\rb\0\r\n", b"a\r\n\r\nb \r\n"),
    ],
)
def test_crlf_that_was_written_as_text_is_one_line_end(sent: bytes, meant: bytes):
    content = from_data(bytearray(b"\r\n" + sent), LineEnds.ANY)
    assert content.octets == meant
    assert content.sent_size == len(sent)


@given(octets=st.text("\r\n.a", max_size=30).map(str.encode), sizes=PIECES)
def test_the_end_is_found_wherever_the_pieces_are_cut(octets: bytes, sizes: list[int]):
    finder = EndOfData()
    at = (b"\r\n" + octets).find(b"\r\n.\r\n")
    before = 0
    for piece in in_pieces(octets, sizes):
        end = finder.find(piece)
        if end >= 0:
            assert before + end == at + 3
            return
        before += len(piece)
    assert at < 0


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\n", b"a\r\n"),
        (b"a\n..b", b"a\r\n..b\r\n"),  # dots are not doubled in chunks
        (b"a\r\n.\r\nb", b"a\r\n.\r\nb\r\n"),
    ],
)
def test_line_ends_of_chunks_are_repaired(sent: bytes, meant: bytes):
    assert Chunks(bytearray(sent)).message().octets == meant


@pytest.mark.parametrize("sent", [b"a\n.\nb", b".\na", b"a\n.\r\n", b"a\r\n.\n", b"a\n."])
def test_a_lone_dot_beside_a_lone_lf_is_refused_in_chunks(sent: bytes):
    with pytest.raises(LineEndsError):
        Chunks(bytearray(sent)).message()


def test_a_repaired_message_has_the_size_that_was_sent():
    message, _ = read(b"a\n" * 49 + b"\r\n.\r\n", [], limit=100)
    assert len(message) == 149


def test_dots_doubled_far_beyond_the_limit_do_not_count():
    assert len(read(b"..\r\n" * 100_000 + b".\r\n", [65_536] * 8, limit=300_000)[0]) == 300_000


def test_a_message_over_the_limit_is_read_to_its_end_and_dropped():
    async def run() -> Any:
        stream = SmtpStream(asyncio.get_running_loop())
        feeding = feed(stream, [b"x" * 60_000 + b"\r\n"] * 4 + [b".\r\nNOOP\r\n"])
        with pytest.raises(TooLargeError):
            await read_data(stream, 100_000, Room(ROOM))
        await feeding
        assert await stream.line() == b"NOOP"

    asyncio.run(run())


def test_exactly_the_limit_is_accepted_and_one_more_is_not():
    assert len(read(b"x" * 98 + b"\r\n.\r\n", [], limit=100)[0]) == 100
    with pytest.raises(TooLargeError):
        read(b"x" * 99 + b"\r\n.\r\n", [], limit=100)


def test_doubled_dots_do_not_count():
    assert len(read(b"..\r\n" * 25 + b".\r\n", [], limit=75)[0]) == 75


def test_endless_data_is_given_up():
    with pytest.raises(FloodError):
        read(b"x" * 500_000, [], limit=1000)


def test_without_room_the_message_is_read_to_its_end_and_dropped():
    with pytest.raises(NoMemoryError):
        read(b"x" * 150_000 + b"\r\n.\r\n", [], limit=1_000_000, room=100_000)


@given(
    lines=st.lists(st.text("ab \t", max_size=10).map(str.encode), min_size=1, max_size=5),
    sizes=PIECES,
)
def test_lines_come_one_by_one_in_any_pieces(lines: list[bytes], sizes: list[int]):
    async def run() -> Any:
        stream = SmtpStream(asyncio.get_running_loop())
        feeding = feed(stream, in_pieces(b"".join(line + b"\r\n" for line in lines), sizes))
        got = [await stream.line() for _ in lines]
        await feeding
        with pytest.raises(ClientGoneError):
            await stream.line()
        return got

    assert asyncio.run(run()) == lines


@pytest.mark.parametrize("bad", [b"a\n", b"a\rb\r\n", b"a\0b\r\n", b"\n", b"a\r\r\n"])
def test_a_line_with_other_ends_is_refused_and_the_next_is_read(bad: bytes):
    async def run() -> Any:
        stream = SmtpStream(asyncio.get_running_loop())
        stream.feed_data(bad + b"NOOP\r\n")
        with pytest.raises(LineEndError):
            await stream.line()
        assert await stream.line() == b"NOOP"

    asyncio.run(run())


def test_an_endless_line_takes_no_memory():
    async def run() -> Any:
        stream = SmtpStream(asyncio.get_running_loop())
        feeding = feed(stream, [b"x" * 10_000] * 50 + [b"\r\nNOOP\r\n"])
        with pytest.raises(LineTooLongError):
            await stream.line()
        assert len(stream._buffer) < 20_000
        await feeding
        assert await stream.line() == b"NOOP"

    asyncio.run(run())


@given(lines=LINES, kept=st.integers(0, 60), sizes=PIECES)
def test_of_a_long_message_the_first_whole_lines_are_kept_in_any_pieces(
    lines: list[bytes], kept: int, sizes: list[int]
):
    sent = stuffed(lines)
    wanted = sent if len(sent) <= kept else sent[: sent.rfind(b"\n", 0, kept) + 1]
    message, rest = read(sent + b".\r\nREST", sizes, line_ends=LineEnds.ANY, kept=kept)
    assert stuffed(message.splitlines(keepends=False)) == wanted
    assert rest == b"REST"


def test_a_message_beyond_the_limit_is_refused_whatever_is_kept_of_it():
    sent = b"Subject: x\r\n" + b"y" * 990 + b"\r\n"
    assert read(sent + b".\r\n", [100], 1100, kept=50)[0] == b"Subject: x\r\n"
    for room in (ROOM, 60):  # of which no more is taken than for what is kept
        with pytest.raises(TooLargeError):
            read(sent * 3 + b".\r\n", [100], 1100, room=room + 200, kept=50)


def test_of_long_chunks_the_beginning_is_kept_and_all_are_counted():
    async def run(limit: int) -> bytes:
        stream = SmtpStream(asyncio.get_running_loop())
        feeding = feed(stream, [b"Subject: x\r\n" + b"y" * 988])
        reader = Chunks()
        for _ in range(10):
            await reader.read(stream, 100, limit, Room(120), kept=50)
        await feeding
        return reader.message(LineEnds.ANY).octets

    assert asyncio.run(run(1000)) == b"Subject: x\r\n" + b"y" * 38 + b"\r\n"
    with pytest.raises(TooLargeError):
        asyncio.run(run(999))


@given(chunks=st.lists(CLEAN, min_size=1, max_size=6), sizes=PIECES)
def test_chunks_keep_every_octet(chunks: list[bytes], sizes: list[int]):
    async def run() -> Any:
        stream = SmtpStream(asyncio.get_running_loop())
        feeding = feed(stream, in_pieces(b"".join(chunks) + b"REST", sizes))
        reader = Chunks()
        for chunk in chunks:
            await reader.read(stream, len(chunk), 1000, Room(ROOM))
        await feeding
        assert bytes(await stream.take()) == b"REST"
        return reader.message(LineEnds.ANY).octets

    whole = b"".join(chunks)
    assert asyncio.run(run()) == (
        whole if not whole or whole.endswith(b"\r\n") else whole + b"\r\n"
    )


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("10", (10, False)),
        ("0 LAST", (0, True)),
        ("10 last", (10, True)),
        ("", None),
        ("-1", None),
        ("1 FIRST", None),
        ("1 LAST x", None),
        ("\u0661", None),  # a digit, but not of ASCII
        ("9" * 19, None),
    ],
)
def test_bdat_arguments(text: str, parsed: tuple[int, bool] | None):
    assert parse_bdat(text) == parsed
