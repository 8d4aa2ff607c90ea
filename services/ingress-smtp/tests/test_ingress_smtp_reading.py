"""Reading lines, DATA and BDAT out of octets that arrive in any pieces."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_ingress_smtp.admission import Memory
from postroad_ingress_smtp.chunking import Chunks, parse_bdat
from postroad_ingress_smtp.data import (
    FloodError,
    NoMemoryError,
    TooLargeError,
    UncleanEndError,
    read_data,
)
from postroad_ingress_smtp.stream import (
    ClientGoneError,
    LineEndError,
    LineTooLongError,
    SmtpStream,
)

ROOM = 1 << 30
PIECES = st.lists(st.integers(1, 9), max_size=20)


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


def read(octets: bytes, sizes: list[int], limit: int = 10_000, room: int = ROOM):
    """The message and what is left behind its end."""

    async def run() -> Any:
        stream = SmtpStream(asyncio.get_running_loop())
        feeding = feed(stream, in_pieces(octets, sizes))
        message = await read_data(stream, limit, Memory(room).lease())
        await feeding
        return message, bytes(await stream.take()) if not stream.at_end else b""

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
        message, left = read(octets, sizes)
    except UncleanEndError:
        stripped = octets.replace(b"\r\n", b"")
        assert b"\r" in stripped or b"\n" in stripped
    except ClientGoneError:
        assert b"\r\n.\r\n" not in framed
    else:
        end = framed.index(b"\r\n.\r\n")
        assert left == framed[end + 5 :]
        assert message == (framed[: end + 2].replace(b"\r\n.", b"\r\n"))[2:]


def test_a_message_over_the_limit_is_read_to_its_end_and_dropped():
    async def run() -> Any:
        stream = SmtpStream(asyncio.get_running_loop())
        feeding = feed(stream, [b"x" * 60_000 + b"\r\n"] * 4 + [b".\r\nNOOP\r\n"])
        with pytest.raises(TooLargeError):
            await read_data(stream, 100_000, Memory(ROOM).lease())
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


def test_without_room_the_message_is_dropped_and_a_later_one_is_read():
    memory = Memory(200_000)
    with pytest.raises(NoMemoryError):
        read(b"x" * 150_000 + b"\r\n.\r\n", [], limit=1_000_000, room=200_000)
    lease = memory.lease()
    assert lease.grow(90_000)
    lease.release()
    assert memory.used == 0


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


@given(chunks=st.lists(st.binary(min_size=0, max_size=30), min_size=1, max_size=6), sizes=PIECES)
def test_chunks_keep_every_octet(chunks: list[bytes], sizes: list[int]):
    async def run() -> Any:
        stream = SmtpStream(asyncio.get_running_loop())
        feeding = feed(stream, in_pieces(b"".join(chunks) + b"REST", sizes))
        reader = Chunks()
        lease = Memory(ROOM).lease()
        for chunk in chunks:
            await reader.read(stream, len(chunk), 1000, lease)
        await feeding
        assert bytes(await stream.take()) == b"REST"
        return reader.message()

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
