"""RabbitMQ as a private program: its files, its command line, its readiness.

Everything of the node (data, cookie, plugins file, name daemon) is its own, and every port listens
on loopback only. Works for RabbitMQ 3.10 to 4.x.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import quote

import aio_pika
from aio_pika.exceptions import AMQPException

from postroad_common.broker.definitions import BrokerLogin, topology_of, users_of
from postroad_common.servertls import ServerTls, explain_tls
from postroad_stack.errors import NotReadyError
from postroad_stack.plan import LEAST_ROOM_MB, SERVICES, ServerChoice, ServerSource
from postroad_stack.ports import PortBook
from postroad_stack.processes.program import FIRST, Program
from postroad_stack.processes.readiness import accepts
from postroad_stack.secrets import Secrets
from postroad_stack.state_dir import StateDir, write_atomically

PLUGINS = ("rabbitmq_consistent_hash_exchange", "rabbitmq_prometheus")
NO_TLS = ServerTls()
_PATIENCE = 200.0  # seconds; a busy machine takes its time
_GRACE = 30.0
_TRY = 5.0

# What is in a full log is written to the queues' own files, and keeps the disk from everybody who
# waits for his mail to be safe: 64 MiB for some 40 ms.
_LOG_OCTETS = 16_777_216

# Idle schedulers sleep instead of spinning: the stack shares few cores with everything else.
_CALM = "+sbwt none +sbwtdcpu none +sbwtdio none"

# RabbitMQ 3.10 writes the register of its quorum queues to disk minutes after a change: a node that
# is killed before comes back with queues that are empty and elect no leader. So save it often.
# (One word: the start script splits the arguments at spaces.)
_SAVE_REGISTER = (
    "-eval timer:apply_interval(100,erlang,apply,[fun()->[dets:sync(T)||T<-dets:all()]end,[]])."
)

# Queues elect another leader 2 to 4 s after theirs was heard last. By default RabbitMQ looks every
# five seconds and then waits for five more; and a silence is what is half as long again as the
# longest of a hundred pauses, much where a machine was busy or has just started.
NOTICES_SOON = (
    "[{aten, [{poll_interval, 1000}, {detection_threshold, 0.7}, {scaling_factor, 8}]}].\n"
)


def url(secrets: Secrets, ports: PortBook, nodes: int = 1) -> str:
    """Return the AMQP URLs of the nodes of the stack's own broker, separated by commas."""
    return ",".join(_url(_administrator(secrets), ports, node) for node in range(nodes))


def url_of(service: str, secrets: Secrets, ports: PortBook, nodes: int = 1) -> str:
    """Return the URLs with which a service opens the stack's own broker."""
    login = BrokerLogin(service, secrets.broker_password_of(service))
    return ",".join(_url(login, ports, node) for node in range(nodes))


def _administrator(secrets: Secrets) -> BrokerLogin:
    return BrokerLogin(secrets.broker_user, secrets.broker_password)


def _url(login: BrokerLogin, ports: PortBook, node: int) -> str:
    port = ports.port(_named("amqp", node))
    return f"amqp://{login.user}:{quote(login.password, safe='')}@127.0.0.1:{port}/"


def metrics_url(ports: PortBook, node: int = 0) -> str:
    """Return where a node of the stack's own broker shows its Prometheus metrics."""
    return f"http://127.0.0.1:{ports.port(_named('amqp-metrics', node))}/metrics"


def _named(name: str, node: int) -> str:
    """Return the name of something that each node has; the first has it without a number."""
    return f"{name}.{node}" if node else name


def _node_name(node: int) -> str:
    return f"postroad{node or ''}@localhost"


def programs(
    choice: ServerChoice,
    state: StateDir,
    secrets: Secrets,
    ports: PortBook,
    inherited: Mapping[str, str],
    *,
    nodes: int = 1,
) -> list[Program]:
    """Return the nodes of the broker and their name daemon; nothing when it was given by URL."""
    if choice.source is ServerSource.GIVEN:
        return []
    image = choice.where if choice.source is ServerSource.DOCKER else None
    found = []
    if image is None:
        found.append(
            _name_daemon(state, ports, _environment(state.rabbitmq, ports, inherited, node=0))
        )
    for node in range(nodes):
        folder = state.rabbitmq / f"node{node}" if node else state.rabbitmq
        folder.mkdir(exist_ok=True, mode=0o700)
        _write_files(folder, secrets, ports, node=node, nodes=nodes)
        env = _environment(folder, ports, inherited, node=node)
        arguments = f"{_CALM} {_SAVE_REGISTER} -kernel inet_dist_use_interface {{127,0,0,1}}"
        if image is None:
            # The node would start a daemon that outlives it; a supervised one ends with the stack.
            arguments += " -start_epmd false"
        env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] = arguments
        found.append(
            Program(
                name="rabbitmq",
                replica=node,
                argv=("rabbitmq-server",) if image else (choice.where,),
                env=env,
                log=state.log_of(_named("rabbitmq", node)),
                ready=partial(check_broker, _url(_administrator(secrets), ports, node)),
                patience=_PATIENCE * nodes,
                grace=_GRACE,
                folder=folder,
                image=image,
                niceness=FIRST,
            )
        )
    return found


def has_data(state: StateDir, node: int) -> bool:
    """Tell whether a node has run before, and knows its cluster."""
    folder = state.rabbitmq / f"node{node}" if node else state.rabbitmq
    return any((folder / "data").glob("*"))


async def check_broker(addresses: str, tls: ServerTls = NO_TLS) -> None:
    """Return when a broker lets us in at this URL, or at one of several, separated by commas.

    Raises:
        NotReadyError: none answers, or they refuse the login.
    """
    reasons = []
    for address in addresses.split(","):
        try:
            context = tls.context() if tls else None
            connection = await aio_pika.connect(address.strip(), timeout=_TRY, ssl_context=context)
            await connection.close()
        except (OSError, AMQPException, TimeoutError, ValueError) as error:
            text = str(error) or type(error).__name__
            reasons.append(text + explain_tls(text, "POSTROAD_AMQP"))
        else:
            return
    raise NotReadyError(f"the broker does not let us in yet: {'; '.join(reasons)}")


def _environment(
    folder: Path, ports: PortBook, inherited: Mapping[str, str], *, node: int
) -> dict[str, str]:
    return {
        **{name: inherited[name] for name in ("PATH", "LANG", "LC_ALL") if name in inherited},
        "HOME": str(folder),
        "RABBITMQ_NODENAME": _node_name(node),
        "RABBITMQ_NODE_PORT": str(ports.port(_named("amqp", node))),
        "RABBITMQ_DIST_PORT": str(ports.port(_named("amqp-distribution", node))),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "ERL_EPMD_PORT": str(ports.port("epmd")),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # The start script then becomes the node instead of waiting for it as its parent, so that
        # signals, also the one at the supervisor's death, reach the node itself.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def _write_files(folder: Path, secrets: Secrets, ports: PortBook, *, node: int, nodes: int) -> None:
    for name in ("data", "log"):
        (folder / name).mkdir(exist_ok=True, mode=0o700)
    write_atomically(
        folder / "rabbitmq.conf",
        f"""\
listeners.tcp.1 = 127.0.0.1:{ports.port(_named("amqp", node))}
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = {ports.port(_named("amqp-metrics", node))}
load_definitions = {folder / "definitions.json"}
log.file = false
log.console = true
log.console.level = info
log.connection.level = error
raft.wal_max_size_bytes = {_LOG_OCTETS}
disk_free_limit.absolute = {LEAST_ROOM_MB}MB
"""
        + (_cluster(nodes) if nodes > 1 else ""),
    )
    write_atomically(folder / "definitions.json", _definitions(secrets, nodes))
    write_atomically(folder / "enabled_plugins", f"[{','.join(PLUGINS)}].\n")
    write_atomically(folder / "advanced.config", NOTICES_SOON if nodes > 1 else "[].\n")
    write_atomically(folder / "rabbitmq-env.conf", "")
    cookie = folder / ".erlang.cookie"
    if not cookie.exists():
        write_atomically(cookie, secrets.erlang_cookie)
        cookie.chmod(0o400)


def _definitions(secrets: Secrets, nodes: int) -> str:
    """Return what a node knows from its first moment: users, and the queues of a single one."""
    logins = {name: BrokerLogin(name, secrets.broker_password_of(name)) for name in SERVICES}
    made = users_of("/", logins, _administrator(secrets))
    if nodes == 1:
        made |= topology_of("/")
    return json.dumps(made)


def _cluster(nodes: int) -> str:
    """Return what makes a node join the others; a vanished one is noticed within seconds."""
    names = "".join(
        f"cluster_formation.classic_config.nodes.{node + 1} = {_node_name(node)}\n"
        for node in range(nodes)
    )
    return f"""\
cluster_formation.peer_discovery_backend = classic_config
{names}\
cluster_partition_handling = pause_minority
queue_leader_locator = balanced
net_ticktime = 6
heartbeat = 5
"""


def _name_daemon(state: StateDir, ports: PortBook, env: Mapping[str, str]) -> Program:
    port = ports.port("epmd")

    async def ready() -> None:
        await accepts("127.0.0.1", port)

    return Program(
        name="epmd",
        argv=("epmd", "-port", str(port), "-address", "127.0.0.1"),
        env=dict(env),
        log=state.log_of("epmd"),
        ready=ready,
        patience=_PATIENCE,
        grace=5.0,
        folder=state.rabbitmq,
    )
