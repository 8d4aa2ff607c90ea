"""Against real servers: RabbitMQ and MongoDB are started, killed, moved and stopped."""

import asyncio
import contextlib
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import psutil
import pytest
from pymongo import MongoClient
from yarl import URL

from postroad_stack.document import StackDocument
from postroad_stack.errors import NotReadyError, StartFailedError
from postroad_stack.processes.child import born
from postroad_stack.servers.rabbitmq import check_broker
from postroad_stack.stack import Stack, wait_until
from postroad_stack.state_dir import StateDir

SERVERS = ("rabbitmq", "mongod")
POSTROAD = Path(sys.executable).with_name("postroad")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.start(tmp_path_factory.mktemp("servers") / "stack", only=SERVERS) as started:
        yield started
        started.stop(wipe=True)


def insert(uri: str, number: int) -> None:
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=90_000) as client:
        client.get_default_database()["kept"].insert_one({"_id": number})


def numbers(uri: str) -> list[int]:
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=90_000) as client:
        return sorted(row["_id"] for row in client.get_default_database()["kept"].find())


async def declare(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})


def register_is_saved(stack: Stack) -> bool:
    (register,) = stack.state_dir.glob("rabbitmq/data/*/quorum/*/names.dets")
    return b"kept" in register.read_bytes()


async def publish(url: str, text: bytes) -> None:
    """Put a message on a quorum queue and wait for the confirm."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        message = aio_pika.Message(text, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key="kept", timeout=90)


async def take(url: str) -> bytes:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue("kept")
        message = await queue.get(timeout=90)
        assert message is not None
        await message.ack()
        return message.body


def addresses(document: StackDocument) -> tuple[str, str]:
    return document.amqp, document.mongodb


def listeners(pids: list[int]) -> set[str]:
    return {
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_servers_listen_on_loopback_only(stack: Stack):
    pids = [pid for name in (*SERVERS, "epmd") for pid in stack.document.pids[name]]
    assert listeners(pids) <= {"127.0.0.1", "::1"}


def test_stranger_is_let_into_neither_server(stack: Stack):
    document = stack.document
    stranger = document.amqp.split("@")[1]
    with pytest.raises(aio_pika.exceptions.AMQPException):
        asyncio.run(declare(f"amqp://guest:guest@{stranger}"))
    host = document.mongodb.split("@")[1].split("/")[0]
    with pytest.raises(Exception, match="requires authentication"):
        insert(f"mongodb://{host}/postroad?directConnection=true", 1)


def test_database_takes_majority_writes_and_transactions(stack: Stack):
    with MongoClient[dict[str, Any]](stack.document.mongodb) as client:
        database = client.get_default_database()
        database.create_collection("pairs")
        with client.start_session() as session, session.start_transaction():
            database["pairs"].insert_one({"_id": 1}, session=session)
            database["pairs"].insert_one({"_id": 2}, session=session)
        assert database["pairs"].count_documents({}) == 2


def test_killed_servers_are_back_on_the_same_ports_with_their_data(stack: Stack):
    before = stack.document
    insert(before.mongodb, 1)
    # A service declares its queues when it starts. It is the register of queues that RabbitMQ 3.10
    # saves late; `servers.rabbitmq` has it saved ten times a second.
    asyncio.run(declare(before.amqp))
    wait_until(lambda: register_is_saved(stack), "the register of queues is saved")
    asyncio.run(publish(before.amqp, b"one"))
    for name in (*SERVERS, "epmd"):
        gone = stack.kill(name)
        stack.wait_back(name, gone)
    after = stack.document
    assert addresses(after) == addresses(before)
    assert all(after.pids[name] != before.pids[name] for name in SERVERS)
    assert all(stack.processes(name)[0].restarts >= 1 for name in SERVERS)
    assert 1 in numbers(after.mongodb)
    assert asyncio.run(take(after.amqp)) == b"one"
    log = stack.log("supervisor").read_text()
    assert "mongod was ended by SIGKILL; starting it again" in log


def test_killed_supervisor_takes_everything_with_it_and_up_starts_it_again(tmp_path: Path):
    with Stack.start(tmp_path / "stack", only=("mongod",)) as stack:
        before = stack.document
        insert(before.mongodb, 7)
        # The supervisor, too: it holds the state dir until the last of its threads has ended.
        ending = [psutil.Process(before.pids[name][0]) for name in ("supervisor", "mongod")]
        os.kill(before.pids["supervisor"][0], signal.SIGKILL)
        gone, alive = psutil.wait_procs(ending, timeout=90)
        assert (len(gone), alive) == (2, [])
        with Stack.start(tmp_path / "stack", only=("mongod",)) as again:
            assert addresses(again.document) == addresses(before)
            assert numbers(again.document.mongodb) == [7]


def test_stack_ends_with_the_process_that_started_it(tmp_path: Path):
    script = f"""
import sys
from postroad_stack.stack import Stack
stack = Stack.start({str(tmp_path / "stack")!r}, only=("sink",))
print(stack.document.model_dump_json(), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        (sys.executable, "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        document = StackDocument.model_validate_json(starter.stdout.readline())
        running = [psutil.Process(pid) for pids in document.pids.values() for pid in pids]
        starter.kill()
    assert psutil.wait_procs(running, timeout=90)[1] == []
    assert not StateDir(tmp_path / "stack").supervised()


def test_process_left_by_a_killed_supervisor_is_ended_before_the_next_start(tmp_path: Path):
    folder = tmp_path / "stack"
    with Stack.start(folder, only=("sink",)) as stack:
        status = stack.status
    state = StateDir(folder)
    with subprocess.Popen(("sleep", "600")) as left:
        noted = status.processes[0].model_copy(update={"pid": left.pid, "born": born(left.pid)})
        state.status.write_text(status.model_copy(update={"processes": (noted,)}).model_dump_json())
        with Stack.start(folder, only=("sink",)):
            assert left.wait(timeout=90) == -signal.SIGKILL


def test_taken_port_moves_the_replica_set_to_another_with_its_data(tmp_path: Path):
    folder = tmp_path / "stack"
    with Stack.start(folder, only=("mongod",)) as stack:
        insert(stack.document.mongodb, 3)
    port = json.loads((folder / "ports.json").read_text())["mongodb"]
    with occupied(port), Stack.start(folder, only=("mongod",)) as stack:
        assert f":{port}/" not in stack.document.mongodb
        assert any(str(port) in notice for notice in stack.status.notices)
        assert numbers(stack.document.mongodb) == [3]


@contextlib.contextmanager
def occupied(port: int) -> Iterator[None]:
    """Another program on this port, that ends each connection at once."""
    with socketserver.TCPServer(("127.0.0.1", port), socketserver.BaseRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_service_that_refuses_a_setting_fails_the_start_and_leaves_nothing(
    stack: Stack, tmp_path: Path
):
    given = {
        "POSTROAD_AMQP_URL": stack.document.amqp,
        "POSTROAD_MONGODB_URI": stack.document.mongodb,
        "POSTROAD_FLUX": "1",
    }
    folder = tmp_path / "stack"
    with pytest.raises(StartFailedError) as caught:
        Stack.start(folder, env=given, only=("tracker",))
    assert caught.value.failure.process == "tracker"
    assert any("POSTROAD_FLUX" in line for line in caught.value.failure.tail)
    assert not StateDir(folder).supervised()


def test_service_runs_on_servers_given_by_url_until_its_folder_is_removed(
    stack: Stack, tmp_path: Path
):
    given = {
        "POSTROAD_AMQP_URL": stack.document.amqp,
        "POSTROAD_MONGODB_URI": stack.document.mongodb,
    }
    with Stack.start(tmp_path / "stack", env=given, only=("tracker",)) as service:
        assert set(service.document.pids) == {"supervisor", "tracker"}
        gone = service.kill("tracker")
        service.wait_back("tracker", gone)
        pids = [pid for pids in service.document.pids.values() for pid in pids]
        # Who removes the folder of a running stack gets rid of the stack, too.
        service.state_dir.rename(tmp_path / "removed")
        wait_until(lambda: all(born(pid) is None for pid in pids), "it ended with its folder")


def test_of_several_given_brokers_one_that_answers_is_enough(stack: Stack, tmp_path: Path):
    given = {
        "POSTROAD_AMQP_URL": f"amqp://nobody:here@127.0.0.1:9/,{stack.document.amqp}",
        "POSTROAD_MONGODB_URI": stack.document.mongodb,
    }
    with Stack.start(tmp_path / "stack", env=given, only=("tracker",)) as service:
        assert service.document.amqp == given["POSTROAD_AMQP_URL"]


async def test_a_given_broker_that_refuses_the_login_says_so(stack: Stack):
    wrong = URL(stack.document.amqp).with_password("wrong")
    with pytest.raises(NotReadyError, match="Login was refused"):
        await check_broker(str(wrong))
    with pytest.raises(NotReadyError, match=r"Connect call failed.*; .*Login was refused"):
        await check_broker(f"amqp://127.0.0.1:9/,{wrong}")
    with pytest.raises(NotReadyError, match="the broker does not let us in"):
        await check_broker("nonsense")


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (POSTROAD, *arguments, "--state-dir", folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_command_up_status_down_and_up_again_on_the_same_data(tmp_path: Path):
    folder = tmp_path / "stack"
    up = ("up", "--json", "--only", "mongod")
    try:
        first = json.loads(command(*up, folder=folder).stdout.splitlines()[-1])
        insert(first["mongodb"], 5)
        again = json.loads(command(*up, folder=folder).stdout.splitlines()[-1])
        assert again == first
        assert "mongod" in command("status", folder=folder).stdout
        status = command("status", "--json", folder=folder)
        assert json.loads(status.stdout)["pids"] == first["pids"]
        assert command("down", folder=folder).returncode == 0
        assert [born(pid) for pids in first["pids"].values() for pid in pids] == [None, None]
        assert command("status", folder=folder).returncode == 1
        third = json.loads(command(*up, folder=folder).stdout.splitlines()[-1])
        assert third["mongodb"] == first["mongodb"]
        assert numbers(third["mongodb"]) == [5]
    finally:
        command("down", "--wipe", folder=folder)
    assert not folder.exists()


def test_command_says_what_is_wrong_and_what_to_do_without_a_traceback(tmp_path: Path):
    wrong = command(
        *("up", "--json", "--only", "mongod", "--env", "POSTROAD_SMTP_PORT=many"), folder=tmp_path
    )
    assert wrong.returncode == 1
    assert "POSTROAD_SMTP_PORT" in wrong.stderr
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    foreign = command("up", "--json", folder=tmp_path / "other")
    assert foreign.returncode == 1
    assert "--state-dir" in foreign.stderr
    assert "no stack is in" in command("down", "--wipe", folder=tmp_path / "other").stdout
    assert (tmp_path / "other" / "thesis.txt").exists()
    assert "Traceback" not in wrong.stderr + foreign.stderr
