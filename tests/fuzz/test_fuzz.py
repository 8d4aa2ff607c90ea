"""Mutations of a kept corpus against the readers of what strangers send; see `README.md` here."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad_bounce_processor.understanding.matching import match
from postroad_bounce_processor.understanding.traces import find_traces
from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.address import AddressError, parse_mailbox
from postroad_common.mail.control import ControlError, header_end, read_controls
from postroad_common.mail.mime import read
from postroad_common.mail.parameters import MailParameters, RcptParameters
from postroad_common.mail.reply import Reply
from postroad_common.mail.verp import BounceAddresses
from postroad_common.tokens import Keyring, LinkSigner
from postroad_ingress_smtp.envelope_commands import read_mail, read_rcpt
from postroad_smtp.server.chunking import parse_bdat
from postroad_smtp.server.data import read_data
from postroad_smtp.server.errors import DataError, DesyncError
from postroad_smtp.server.lineends import LineEnds
from postroad_smtp.server.stream import ClientGoneError, SmtpStream

HERE = Path(__file__).parent
RETURNS = HERE.parents[1] / "services" / "bounce-processor" / "tests" / "data"
EXAMPLES = int(os.environ.get("POSTROAD_TEST_FUZZ_EXAMPLES", "3000"))
KEYS = Keyring(("a-secret-of-the-fuzzer",))
ADDRESSES = BounceAddresses(KEYS, "bounce.example")
LINKS = LinkSigner(KEYS, "https://t.example")
TOKENS = {
    "returns": (
        b"\r\n", b"\n", b"--b\r\n", b"--b--", b"Content-Type: ", b"message/rfc822", b"550 5.1.1",
        b"multipart/report", b"charset=", b"base64", b"=?utf-8?B?", b"?=", b"\xff", b"\x00",
        b"<kim@example.net>", b"Final-Recipient: ", b"Action: failed", b"Status: 5.1.1",
        b"Feedback-Type: abuse",
    ),
    "data": (b"\r\n", b"\n", b"\r", b".", b"..", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\0", b"x"),
    "commands": (b"<", b">", b"@", b" ", b"=", b";", b"\\", b'"', b"+", b"SIZE=",
                 b"NOTIFY=", b"ORCPT=", b"\xc3\xa9"),
}  # fmt: skip
Target = Callable[[bytes], None]


def _corpus(name: str) -> list[bytes]:
    files = sorted((HERE / "corpus" / name).iterdir())
    if name == "returns":
        files += sorted(RETURNS.glob("*.eml"))
    return [file.read_bytes() for file in files]


def _mutated(name: str) -> st.SearchStrategy[bytes]:
    seeds = _corpus(name)

    @st.composite
    def mutated(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(st.sampled_from(seeds)))
        for _ in range(draw(st.integers(0, 6))):
            at = draw(st.integers(0, len(data)))
            end = min(len(data), at + draw(st.sampled_from((0, 1, 2, 8, 60, 400))))
            match draw(st.integers(0, 4)):
                case 0:
                    del data[at:end]
                case 1:
                    data[at:at] = draw(st.sampled_from(TOKENS[name]))
                case 2:
                    data[at:at] = data[at:end] * draw(st.integers(1, 20))
                case 3:
                    other = draw(st.sampled_from(seeds))
                    data[at:end] = other[draw(st.integers(0, len(other))) :][:400]
                case _:
                    data[at:end] = draw(st.binary(max_size=8))
        return bytes(data[:200_000])

    return mutated()


def _can_be_stored(value: object) -> None:
    json.dumps(value, ensure_ascii=False).encode()


def returns(raw: bytes) -> None:
    """Read a return or a complaint: without a fault, and nothing is hard or proven by chance."""
    mail = read(raw)
    for part in mail.walk():
        _can_be_stored([part.text, part.media_type, part.headers.fields])
    for mail_from in ("", "someone@example.org"):
        found = understand(mail, expected="kim@example.net", mail_from=mail_from)
        _can_be_stored([found.diagnostic, found.recipient, found.detail, found.remote_host])
        others = understand(mail, expected="nobody@nowhere.example")
        # A report that names nobody speaks of the one whose secret address it came to.
        assert not (others.hard and others.recipient)
    traces = find_traces(mail, ADDRESSES, LINKS, time.time())
    _can_be_stored([traces.recipients, traces.message_id, traces.feedback_id])
    assert not traces.signed
    assert match(traces, {}, {}, {}, secret=True, account="").record is None


def data(raw: bytes) -> None:
    """Read data: they end at CR LF . CR LF alone, in whatever pieces they arrive."""
    assert _read_data(raw, 1) == _read_data(raw, 7) == _read_data(raw, 100_000)
    for line_ends in LineEnds:
        outcome, content, rest = _read_data(raw, 11, line_ends)
        if outcome != "taken":
            continue
        framed = b"\r\n" + raw
        assert framed.endswith(b"\r\n.\r\n" + rest)
        assert b"\r\n.\r\n" not in framed[: len(framed) - len(rest) - 1]
        assert b"\0" not in content
        assert b"\n" not in content.replace(b"\r\n", b"")
        assert b"\r" not in content.replace(b"\r\n", b"")


def _read_data(raw: bytes, piece: int, line_ends: LineEnds = LineEnds.REPAIR) -> Any:
    async def run() -> tuple[str, bytes, bytes]:
        stream = SmtpStream(asyncio.get_running_loop())
        for at in range(0, len(raw), piece):
            stream.feed_data(raw[at : at + piece])
        stream.feed_eof()
        try:
            content = await read_data(stream, 1 << 20, _Room(), line_ends)
        except (DataError, DesyncError, ClientGoneError) as error:
            return type(error).__name__, b"", b""
        rest = b"" if stream.at_end else bytes(await stream.take())
        return "taken", content.octets, rest

    return asyncio.run(run())


class _Room:
    def grow(self, size: int) -> bool:
        """Have room for everything."""
        return size >= 0


def commands(raw: bytes) -> None:
    """Read commands: what is taken of their parameters means the same when it is written."""
    line = raw.decode("utf-8", "surrogateescape")
    verb, _, argument = line.partition(" ")
    parse_bdat(argument)
    for smtputf8 in (False, True):
        mail = read_mail(argument, extended=True, tls=True, size_limit=1 << 30)
        rcpt = read_rcpt(argument, extended=True, smtputf8=smtputf8)
        if not isinstance(mail, Reply):
            assert MailParameters.parse(mail.parameters.format()) == mail.parameters
        if not isinstance(rcpt, Reply):
            assert RcptParameters.parse(rcpt.parameters.format()) == rcpt.parameters
            assert parse_mailbox(rcpt.mailbox.text, smtputf8=smtputf8).text == rcpt.mailbox.text
    try:
        parse_mailbox(verb, smtputf8=True)
    except AddressError as error:
        str(error).encode("utf-8", "backslashreplace")
    try:
        controls = read_controls(raw)
    except ControlError:
        return
    assert controls.stripped.endswith(raw[header_end(raw) :])


TARGETS: dict[str, Target] = {"returns": returns, "data": data, "commands": commands}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_is_kept_in_the_corpus_holds(name: str):
    for raw in _corpus(name):
        TARGETS[name](raw)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_fuzz(name: str):
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(_mutated(name))
    def run(raw: bytes) -> None:
        TARGETS[name](raw)

    run()
