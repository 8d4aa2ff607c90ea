"""The parts of the comparison with other relays that are ours."""

import asyncio
import base64
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from bench.load import quantile, send_all
from bench.mails import Kind, mail_maker, number_of
from bench.peers.dovecotauth import answer, answering
from bench.peers.footprint import proportional_set_size, sampled
from bench.peers.main import arguments
from bench.peers.measure import Measured, half_of_own, half_of_slowest
from bench.peers.peer import PeerError
from bench.peers.programs import await_port, call, free_port, running
from bench.peers.sink import running_counting_sink
from bench.peers.table import BEGIN, END, facts, markdown, middle, ratio, write_between
from bench.smtp import Server

PLAIN = Measured(
    label="postfix",
    accepted=1000,
    accepted_per_s=800.0,
    delivered_per_s=400.0,
    p50_ms=10.0,
    p99_ms=100.0,
    cpu_ms=2.0,
    memory_mb=100.0,
    lost=0,
    duplicated=0,
    refused=0,
)
OURS = dataclasses.replace(
    PLAIN, label="ours", accepted_per_s=1000.0, p99_ms=50.0, cpu_ms=3.0, memory_mb=650.0, lost=2
)


def test_table_has_multiples_of_plain_postfix_and_what_was_lost_at_any_load():
    calm = {"postfix": dataclasses.replace(PLAIN, p99_ms=4.0), "ours": OURS}
    head, _, first, second = markdown([PLAIN, OURS], calm, {**calm, "ours": PLAIN}).splitlines()
    assert head.startswith("| relay | CPU per message | accepted/s | delivered/s |")
    assert first == f"| postfix |{' 1.00 |' * 9} 0 | 0 |"
    assert second == (
        "| ours | 1.50 | 1.25 | 1.00 | 1.00 | 0.50 | 1.00 | 12.50 | 25.00 | 6.50 | 4 | 0 |"
    )


def test_table_without_postfix_has_figures_with_their_units():
    _, _, row = markdown([OURS], {}, {}).splitlines()
    assert row == "| ours | 3.0 ms | 1,000 | 400 | 10.0 ms | 50.0 ms |  |  |  | 650 MB | 2 | 0 |"
    assert ratio(5.0, 0.0, "ms") == "5.0 ms"


def test_facts_say_what_1_is_and_who_was_left_out():
    text = facts([PLAIN, OURS], 200.0, {"haraka": "missing: node"})
    assert "2.00 ms" in text
    assert "800 accepted and 400 delivered per second" in text
    assert "200 per second" in text
    assert "Left out: haraka (missing: node)." in text


def test_several_runs_count_by_their_median_and_losses_add_up():
    runs = [dataclasses.replace(OURS, cpu_ms=cpu, lost=1) for cpu in (9.0, 1.0, 2.0)]
    assert (middle(runs).cpu_ms, middle(runs).lost) == (2.0, 3)


def test_half_load_is_half_of_what_the_slowest_accepts():
    assert half_of_slowest([OURS, PLAIN]) == 400.0


def test_half_of_ones_own_load_is_half_of_what_it_takes_in_and_delivers():
    assert half_of_own(PLAIN) == 200.0


def test_page_gets_the_table_between_its_markers(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="has no"):
        write_between(page, "new")


def test_share_of_waits_is_the_one_that_so_many_do_not_exceed():
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 3.0
    assert quantile([1.0], 0.99) == 1.0
    assert quantile([], 0.5) == 0.0


@pytest.mark.parametrize(
    ("login", "verdict"),
    [
        ("\0ann\0secret", b"OK\t7\tuser=ann\n"),
        ("\0ann\0other", b"FAIL\t7\tuser=ann\n"),
        ("ann", b"FAIL\t7\treason=unreadable\n"),
    ],
)
def test_login_of_postfix_is_checked(login: str, verdict: bytes):
    token = base64.b64encode(login.encode()).decode()
    line = f"AUTH\t7\tPLAIN\tservice=smtp\tnologin\tresp={token}\n"
    assert answer(line, "ann", "secret") == verdict
    assert answer("CPID\t12\n", "ann", "secret") == b""


async def test_authentication_socket_greets_and_answers(tmp_path: Path):
    async with answering(tmp_path / "auth", "ann", "secret"):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "auth")
        async with asyncio.timeout(60):
            greeted = await reader.readuntil(b"DONE\n")
            token = base64.b64encode(b"\0ann\0secret")
            writer.write(b"VERSION\t1\t1\nCPID\t5\nAUTH\t1\tPLAIN\tresp=" + token + b"\n")
            assert await reader.readline() == b"OK\t1\tuser=ann\n"
        writer.close()
    assert b"MECH\tPLAIN\tplaintext\n" in greeted


async def test_sink_tells_losses_copies_and_strays_apart():
    make = mail_maker(Kind.TEXT, domains=3)
    assert {make(number).recipient.partition("@")[2] for number in range(9)} == {
        f"d{number:02d}.bench.test" for number in range(3)
    }
    assert number_of(make(8).recipient) == 8
    async with running_counting_sink() as sink:
        server = Server("127.0.0.1", sink.port)
        await sink.begin(range(10, 14))
        mails = [make(number) for number in (10, 11, 11, 2, 12)]
        sent = await send_all(server, iter(mails), 2, 60, pipelined=False, rate=1000.0)
        counts = await sink.counts()
    assert (sent.accepted, len(sent.transactions)) == (5, 5)
    assert (counts.messages, counts.copies, counts.strays) == (3, 1, 1)
    assert counts.last is not None


async def test_program_is_ended_with_what_it_started(tmp_path: Path):
    started = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    log = tmp_path / "log"
    async with running((sys.executable, "-c", started), log) as pid, sampled([pid]) as peak:
        assert proportional_set_size([pid]) > 0
    assert peak.octets > 0
    assert proportional_set_size([pid]) == 0


async def test_server_that_does_not_listen_and_command_that_fails_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = tmp_path / "log"
    log.write_text("it is broken")
    monkeypatch.setattr("bench.peers.programs._START_SECONDS", 0.3)
    with pytest.raises(PeerError, match="it is broken"):
        await await_port(free_port(), log)
    with pytest.raises(PeerError, match="false failed"):
        call("false")
    with pytest.raises(PeerError, match="no-such-program"):
        call("/no-such-program")


@pytest.mark.parametrize("words", [("--peers", "exim"), ("--count", "0"), ("--rounds", "0")])
def test_wrong_arguments_are_refused(words: tuple[str, str]):
    with pytest.raises(SystemExit):
        arguments(words)


def test_missing_peer_is_skipped_with_the_reason(tmp_path: Path):
    done = subprocess.run(
        (sys.executable, "-m", "bench.peers", "--peers", "haraka", "--home", str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 1
    assert "haraka is left out: missing: " in done.stderr
    assert "no relay could be measured" in done.stderr
