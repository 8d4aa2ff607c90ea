import json
import socket
from pathlib import Path

import pytest

from postroad_stack.errors import StackError
from postroad_stack.ports import PortBook, is_free


def listen(number: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", number))


def test_same_name_gets_the_same_port_now_and_after_a_restart(tmp_path: Path):
    path = tmp_path / "ports.json"
    first = PortBook(path)
    number = first.port("smtp")
    assert first.port("smtp") == number
    first.release()
    second = PortBook(path)
    assert second.port("smtp") == number
    assert second.notices == []
    second.release()


def test_two_stacks_at_the_same_time_never_share_a_port(tmp_path: Path):
    one, other = PortBook(tmp_path / "one.json"), PortBook(tmp_path / "other.json")
    number = one.port("smtp")
    # Nothing listens on it yet: only the reservation keeps the other stack away.
    assert is_free(number)
    (tmp_path / "other.json").write_text(json.dumps({"smtp": number}))
    other = PortBook(tmp_path / "other.json")
    assert other.port("smtp") != number
    one.release()
    other.release()


def test_port_taken_by_another_program_is_chosen_anew_with_a_notice(tmp_path: Path):
    path = tmp_path / "ports.json"
    with listen() as taken:
        number = taken.getsockname()[1]
        path.write_text(json.dumps({"http": number}))
        book = PortBook(path)
        chosen = book.port("http")
        assert chosen != number
        assert json.loads(path.read_text()) == {"http": chosen}
        (notice,) = book.notices
        assert str(number) in notice
        assert str(chosen) in notice
        book.release()


def test_fixed_port_that_is_taken_is_an_error_that_names_it(tmp_path: Path):
    with listen() as taken:
        number = taken.getsockname()[1]
        book = PortBook(tmp_path / "ports.json", {"smtp": number})
        with pytest.raises(StackError, match=str(number)):
            book.port("smtp")


def test_fixed_port_replaces_the_one_chosen_before(tmp_path: Path):
    path = tmp_path / "ports.json"
    first = PortBook(path)
    chosen = first.port("smtp")
    first.release()
    with listen() as free:
        fixed = free.getsockname()[1]
    second = PortBook(path, {"smtp": fixed})
    assert second.port("smtp") == fixed != chosen
    assert second.port("smtp") == fixed
    second.release()


def test_chosen_port_is_outside_the_range_of_outgoing_connections(tmp_path: Path):
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    book = PortBook(tmp_path / "ports.json")
    if first_outgoing >= 17_000:
        assert book.port("a") < first_outgoing
    book.release()


def test_broken_port_file_is_replaced(tmp_path: Path):
    path = tmp_path / "ports.json"
    path.write_text("{broken")
    book = PortBook(path)
    number = book.port("smtp")
    assert json.loads(path.read_text()) == {"smtp": number}
    book.release()
