from pathlib import Path

import pytest

from postroad_stack.errors import StackError
from postroad_stack.logs import bound, tail
from postroad_stack.plan import ServerChoice, ServerSource, StackPlan, check_replicas, fixed_ports
from postroad_stack.secrets import load_secrets
from postroad_stack.state_dir import StateDir, write_atomically


def test_folder_with_other_content_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(StackError, match="not empty"):
        StateDir(tmp_path).create()
    StateDir(tmp_path).wipe()
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_wipe_removes_a_state_dir_with_everything_in_it(tmp_path: Path):
    state = StateDir(tmp_path / "stack")
    state.create()
    (state.logs / "sender.log").write_text("line\n")
    state.wipe()
    assert not state.root.exists()


def test_only_the_owner_may_look_inside(tmp_path: Path):
    state = StateDir(tmp_path / "stack")
    state.create()
    load_secrets(state.secrets)
    assert state.root.stat().st_mode & 0o077 == 0
    assert state.secrets.stat().st_mode & 0o077 == 0


def test_supervised_is_true_only_while_the_lock_is_held(tmp_path: Path):
    state = StateDir(tmp_path / "stack")
    state.create()
    assert not state.supervised()
    with state.held():
        assert state.supervised()
        with pytest.raises(StackError, match="another supervisor"), state.held():
            pass
    assert not state.supervised()


def test_supervisor_sees_that_its_folder_was_removed_or_is_another_one(tmp_path: Path):
    state = StateDir(tmp_path / "stack")
    state.create()
    assert not state.still_held()
    with state.held():
        assert state.still_held()
        state.root.rename(tmp_path / "removed")
        assert not state.still_held()
        other = StateDir(state.root)
        other.create()
        with other.held():
            assert other.still_held()
            assert not state.still_held()


def test_what_cannot_be_written_is_said_in_words_and_leaves_nothing_beside_it(tmp_path: Path):
    (tmp_path / "plan.json").mkdir()  # in the way
    with (
        pytest.raises(StackError, match=r"cannot write into .*: Is a directory") as caught,
        StateDir(tmp_path).writing(),
    ):
        write_atomically(tmp_path / "plan.json", "{}")
    assert "--state-dir" in caught.value.advice
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_secrets_are_made_once_and_differ_between_stacks(tmp_path: Path):
    one = load_secrets(tmp_path / "one.json")
    assert load_secrets(tmp_path / "one.json") == one
    other = load_secrets(tmp_path / "other.json")
    for name in ("secret", "broker_password", "database_password", "admin_token"):
        assert getattr(one, name) != getattr(other, name)


def test_atomic_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "status.json"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_log_beyond_its_bound_is_moved_aside_and_the_writer_goes_on(tmp_path: Path):
    log = tmp_path / "sender.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old line\n" * 100)
        assert bound(log, largest=500)
        writer.write(b"new line\n")
    assert log.read_bytes() == b"new line\n"
    assert (tmp_path / "sender.log.1").stat().st_size == 900
    assert not bound(log, largest=500)


def test_tail_gives_the_last_lines_of_this_run_only(tmp_path: Path):
    log = tmp_path / "sender.log"
    log.write_text("first run\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.write("".join(f"line {number}\n\n" for number in range(30)))
    assert tail(log, 3) == ("line 27", "line 28", "line 29")
    assert tail(log, 100, since=start)[0] == "line 0"
    assert tail(tmp_path / "missing.log") == ()


@pytest.mark.parametrize("text", ["", "smtp", "0", "65536", "-1", "25 "])
def test_setting_that_is_no_port_number_is_refused(text: str):
    with pytest.raises(StackError, match="POSTROAD_SMTP_PORT"):
        fixed_ports({"POSTROAD_SMTP_PORT": text}, {})


def test_port_settings_fix_the_listeners_ports():
    assert fixed_ports({"POSTROAD_MX_PORT": "25", "POSTROAD_SECRET": "x"}, {}) == {"mx": 25}


def test_operations_ports_are_counted_up_from_the_one_that_is_fixed():
    fixed = fixed_ports({"POSTROAD_METRICS_PORT": "9400"}, {"ingress-smtp": 2})
    assert fixed["metrics.ingress-smtp.0"] == 9400
    assert fixed["metrics.ingress-smtp.1"] == 9401
    assert fixed["metrics.ingress-http.0"] == 9402
    assert sorted(fixed.values()) == list(range(9400, 9408))


@pytest.mark.parametrize("replicas", [{"sendr": 1}, {"rabbitmq": 2}, {"sender": 0}, {"sender": 99}])
def test_replicas_of_no_service_or_no_sensible_number_are_refused(replicas: dict[str, int]):
    with pytest.raises(StackError):
        check_replicas(replicas)


def test_plan_survives_the_way_through_its_file():
    choice = ServerChoice(source=ServerSource.PROGRAM, where="/usr/bin/mongod", library_path="/lib")
    plan = StackPlan(
        rabbitmq=ServerChoice(source=ServerSource.GIVEN, where="amqp://user:secret@host/"),
        mongod=choice,
        environment={"POSTROAD_LOG_LEVEL": "debug"},
        replicas={"sender": 3},
        only=("sender",),
    )
    assert StackPlan.model_validate_json(plan.model_dump_json()) == plan
    assert plan.count("sender") == 3
    assert plan.count("tracker") == 1
    assert "secret" not in plan.rabbitmq.words
