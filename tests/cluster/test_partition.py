"""Real partitions: three hosts in network namespaces of their own, on a bridge that is cut.

Each host runs a node of RabbitMQ and a member of MongoDB's replica set; the services run where the
bridge is. A host that is cut off hears nobody, as when a switch dies. Started by
`make test-cluster`; needs root, which may make network namespaces.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from postroad_stack.errors import NotReadyError
from postroad_stack.servers.choose import Preference, choose_servers
from postroad_stack.servers.rabbitmq import NOTICES_SOON, PLUGINS, check_broker
from postroad_stack.servers.replica_set import ELECTION_TIMEOUT_MS
from postroad_stack.stack import Stack
from postroad_testing.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
PATIENCE = 150.0
HANGS = 75.0
NODES = 3
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET, linux/sched.h


def address(node: int) -> str:
    return f"10.77.0.{node + 1}"


AMQP = ",".join(f"amqp://postroad:secret@{address(node)}:5672/" for node in range(NODES))
MONGODB = f"mongodb://{','.join(map(address, range(NODES)))}/postroad?replicaSet=postroad"

METRICS = [f"http://{address(node)}:15692/metrics" for node in range(NODES)]


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def network_of(pid: int | str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def end_all_in(network: str) -> None:
    """End what runs on a host: RabbitMQ leaves its name daemon behind."""
    for found in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if network_of(found.name) == network:
                os.kill(int(found.name), signal.SIGKILL)


@dataclass
class Hosts:
    """Hosts on a bridge; `pids` are of the processes that keep their namespaces."""

    pids: list[int] = field(default_factory=list)
    broker_logs: list[Path] = field(default_factory=list)
    restarts: list[Callable[[], None]] = field(default_factory=list)
    """What starts each node of RabbitMQ anew."""

    def times_paused(self, node: int) -> int:
        """Count how often a node of RabbitMQ has noticed that it is not among the majority."""
        return self.broker_logs[node].read_bytes().count(b"minority")

    def wait_until_they_let_in(self) -> None:
        """Return when every node lets clients in: one that was cut off starts anew.

        Now and then one hangs while it does (Erlang 25.2, its `global` after a partition): then it
        is started again, as an operator would.
        """
        for node, log in enumerate(self.broker_logs):
            url = AMQP.split(",")[node]
            try:
                wait_until(lambda url=url: lets_in(url), HANGS)
            except TimeoutError:
                sys.__stderr__.write(f"== rabbitmq {node} hangs in its start; once more\n")
                self.restarts[node]()
                ready(lambda url=url: asyncio.run(check_broker(url)), f"rabbitmq {node}", log)

    def add(self, stack: ExitStack) -> None:
        node = len(self.pids)
        process = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        stack.callback(process.wait)
        stack.callback(process.kill)
        here = network_of("self")
        wait_until(lambda: network_of(process.pid) != here, PATIENCE)
        self.pids.append(process.pid)
        stack.callback(end_all_in, network_of(process.pid))
        run(*f"ip link add host{node} type veth peer name eth0 netns {process.pid}".split())
        run(*f"ip link set host{node} master hub up".split())
        inside = self.inside(node)
        run(*inside, *f"ip address add {address(node)}/24 dev eth0".split())
        for link in ("eth0", "lo"):
            run(*inside, "ip", "link", "set", link, "up")

    def inside(self, node: int) -> list[str]:
        """Return the words before a command that is to run on a host."""
        return ["nsenter", "--target", str(self.pids[node]), "--net"]

    @contextmanager
    def cut(self, *nodes: int) -> Iterator[None]:
        """Cut hosts off, from each other too, while the block runs."""
        for node in nodes:
            run("ip", "link", "set", f"host{node}", "down")
        try:
            yield
        finally:
            for node in nodes:
                run("ip", "link", "set", f"host{node}", "up")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Yield the hosts; this process is where their bridge is until the end of the module."""
    libc = ctypes.CDLL(None, use_errno=True)
    with ExitStack() as stack:
        before = os.open("/proc/self/ns/net", os.O_RDONLY)
        stack.callback(os.close, before)
        if libc.unshare(_NEW_NETWORK):
            pytest.skip(f"no network namespaces here: {os.strerror(ctypes.get_errno())}")
        stack.callback(libc.setns, before, _NEW_NETWORK)
        found = Hosts()
        try:
            run("ip", "link", "set", "lo", "up")
            run("ip", "link", "add", "hub", "type", "bridge")
            run("ip", "address", "add", "10.77.0.254/24", "dev", "hub")
            run("ip", "link", "set", "hub", "up")
            for _ in range(NODES):
                found.add(stack)
        except OSError as error:
            pytest.skip(f"no network of hosts can be made here: {error}")
        yield found


def broker_files(folder: Path) -> dict[str, str]:
    """Write what a node of RabbitMQ reads; return its environment, but for its name."""
    nodes = [
        f"cluster_formation.classic_config.nodes.{node + 1} = rabbit@{address(node)}"
        for node in range(NODES)
    ]
    lines = [
        "listeners.tcp.1 = 0.0.0.0:5672",
        "default_user = postroad",
        "default_pass = secret",
        "log.file = false",
        "log.console = true",
        "disk_free_limit.absolute = 64MB",
        "cluster_partition_handling = pause_minority",
        "cluster_formation.peer_discovery_backend = classic_config",
        "queue_leader_locator = balanced",
        "net_ticktime = 6",
        "heartbeat = 5",
        *nodes,
    ]
    (folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
    (folder / "advanced.config").write_text(NOTICES_SOON)
    (folder / "plugins").write_text(f"[{','.join(PLUGINS)}].\n")
    cookie = folder / ".erlang.cookie"
    cookie.write_text("PARTITION")
    cookie.chmod(0o400)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "RABBITMQ_USE_LONGNAME": "true",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none",
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def start(
    stack: ExitStack, log: Path, command: Sequence[str], env: dict[str, str]
) -> Callable[[], None]:
    """Run a server until the end of `stack`; return what starts it anew."""
    output = stack.enter_context(log.open("ab"))

    def run_it() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
        stack.callback(process.wait)
        stack.callback(process.kill)
        return process

    processes = [run_it()]

    def restart() -> None:
        processes[-1].kill()
        processes[-1].wait()
        processes.append(run_it())

    return restart


def lets_in(url: str) -> bool:
    try:
        asyncio.run(check_broker(url))
    except NotReadyError:
        return False
    return True


def ready(check: Callable[[], object], what: str, log: Path) -> None:
    """Return when `check` does."""

    def done() -> bool:
        with suppress(NotReadyError, PyMongoError):
            check()
            return True
        return False

    try:
        wait_until(done, PATIENCE)
    except TimeoutError:
        pytest.fail(f"{what} is not ready:\n{log.read_text(errors='replace')[-3000:]}")


def start_brokers(hosts: Hosts, folder: Path, program: str, stack: ExitStack) -> None:
    for node in range(NODES):
        own = folder / f"rabbitmq{node}"
        own.mkdir()
        env = broker_files(own) | {"RABBITMQ_NODENAME": f"rabbit@{address(node)}"}
        hosts.restarts.append(start(stack, own / "log", [*hosts.inside(node), program], env))
        hosts.broker_logs.append(own / "log")
        url = AMQP.split(",")[node]
        ready(lambda url=url: asyncio.run(check_broker(url)), f"rabbitmq {node}", own / "log")


def start_databases(hosts: Hosts, folder: Path, choice: Any, stack: ExitStack) -> None:
    env = {"PATH": os.environ["PATH"]}
    libraries = f"LD_LIBRARY_PATH={choice.library_path or ''}"
    for node in range(NODES):
        own = folder / f"mongodb{node}"
        own.mkdir()
        words = f"--bind_ip {address(node)} --port 27017 --dbpath {own} --replSet postroad".split()
        words += ["--wiredTigerCacheSizeGB", "0.25", "--nounixsocket", "--quiet"]
        command = [*hosts.inside(node), "env", libraries, choice.where, *words]
        start(stack, own / "log", command, env)
    members = [{"_id": node, "host": f"{address(node)}:27017"} for node in range(NODES)]
    log = folder / "mongodb0" / "log"
    for node in range(NODES):
        with MongoClient[dict[str, Any]](address(node), directConnection=True) as client:
            ready(partial(client.admin.command, "ping"), "mongod", folder / f"mongodb{node}/log")
    with MongoClient[dict[str, Any]](address(0), directConnection=True) as client:
        settings = {"electionTimeoutMillis": ELECTION_TIMEOUT_MS}
        wanted = {"_id": "postroad", "members": members, "settings": settings}
        client.admin.command("replSetInitiate", wanted)
    with MongoClient[dict[str, Any]](MONGODB) as client:
        ready(lambda: client.admin.command("ping"), "the replica set", log)


@pytest.fixture(scope="module")
def stack(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("partition")
    broker, database = choose_servers({}, Preference.LOCAL, lambda _text: None)
    settings = {"POSTROAD_AMQP_URL": AMQP, "POSTROAD_MONGODB_URI": MONGODB}
    settings["POSTROAD_RETRY_SCHEDULE"] = "1,1,2"
    with ExitStack() as servers:
        start_databases(hosts, folder, database, servers)
        start_brokers(hosts, folder, broker.where, servers)
        yield servers.enter_context(Stack.start(folder / "stack", env=settings))


@pytest.mark.parametrize("node", range(NODES))
def test_a_host_that_is_cut_off_costs_no_mail(
    stack: Stack, hosts: Hosts, load: Any, whole: Any, node: int
) -> None:
    hosts.wait_until_they_let_in()
    whole(METRICS)
    before = hosts.times_paused(node)
    with load(stack, f"host-{node}-cut") as found:
        with hosts.cut(node):
            found.wait_for_more()
            wait_until(lambda: hosts.times_paused(node) > before, PATIENCE, "it pauses")
            found.wait_for_more()
        found.wait_for_more()


def test_without_a_majority_clients_are_told_to_come_again_and_it_ends_by_itself(
    stack: Stack, hosts: Hosts, load: Any, whole: Any
) -> None:
    hosts.wait_until_they_let_in()
    whole(METRICS)
    with load(stack, "all-cut") as found:
        with hosts.cut(0, 1):
            wait_until(lambda: found.refusals.total() > 0, PATIENCE, "mail is refused")
        found.wait_for_more()
    assert found.refusals
