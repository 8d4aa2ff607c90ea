"""MongoDB as a private replica set, of one node or several: its URLs and command line.

A replica set, because transactions, change streams and majority write concern need one. Works for
MongoDB 6 to 8. `replica_set` brings a new server up; the product's own use of the database is in
`postroad_common.store`, its roles too.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import quote

from postroad_stack.plan import ServerChoice, ServerSource
from postroad_stack.ports import PortBook
from postroad_stack.processes.program import Program
from postroad_stack.secrets import Secrets
from postroad_stack.state_dir import StateDir, write_atomically

DATABASE = "postroad"
REPLICA_SET = "postroad"
_PATIENCE = 200.0  # seconds; a busy machine takes its time
_GRACE = 30.0


def url(secrets: Secrets, ports: PortBook, nodes: int = 1) -> str:
    """Return the URL of the stack's own database, with the database in its path."""
    password = quote(secrets.database_password, safe="")
    hosts = ",".join(f"127.0.0.1:{port}" for port in _ports(ports, nodes))
    return (
        f"mongodb://{secrets.database_user}:{password}@{hosts}"
        f"/{DATABASE}?authSource=admin&replicaSet={REPLICA_SET}"
    )


def url_of(service: str, secrets: Secrets, ports: PortBook, nodes: int = 1) -> str:
    """Return the URL with which a service opens the stack's own database."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in _ports(ports, nodes))
    password = secrets.database_password_of(service)
    return f"mongodb://{service}:{password}@{hosts}/{DATABASE}?replicaSet={REPLICA_SET}"


def _ports(ports: PortBook, nodes: int) -> list[int]:
    return [ports.port(f"mongodb.{node}" if node else "mongodb") for node in range(nodes)]


def programs(
    choice: ServerChoice,
    state: StateDir,
    secrets: Secrets,
    ports: PortBook,
    inherited: Mapping[str, str],
    *,
    nodes: int = 1,
) -> list[Program]:
    """Return the members of the set; nothing when the database was given by URL."""
    if choice.source is ServerSource.GIVEN:
        return []
    members = _ports(ports, nodes)
    found = []
    for node, port in enumerate(members):
        folder = state.mongodb / f"node{node}" if node else state.mongodb
        folder.mkdir(exist_ok=True, mode=0o700)
        data = folder / "data"
        data.mkdir(exist_ok=True, mode=0o700)
        key = folder / "key"
        write_atomically(key, secrets.database_key)
        image = choice.where if choice.source is ServerSource.DOCKER else None
        env = {name: inherited[name] for name in ("PATH", "LANG", "LC_ALL") if name in inherited}
        env["HOME"] = str(folder)
        if choice.library_path is not None:
            env["LD_LIBRARY_PATH"] = choice.library_path
        found.append(
            Program(
                name="mongod",
                replica=node,
                argv=(
                    "mongod" if image else choice.where,
                    *("--bind_ip", "127.0.0.1"),
                    *("--port", str(port)),
                    *("--dbpath", str(data)),
                    *("--replSet", REPLICA_SET),
                    *("--keyFile", str(key)),
                    *("--wiredTigerCacheSizeGB", "0.5" if nodes == 1 else "0.25"),
                    *("--oplogSize", "512"),
                    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                    "--nounixsocket",
                    "--quiet",
                ),
                env=env,
                log=state.log_of(f"mongod.{node}" if node else "mongod"),
                ready=partial(_ensure_replica_set, members, node, secrets),
                patience=_PATIENCE,
                grace=_GRACE,
                folder=folder,
                image=image,
            )
        )
    return found


async def _ensure_replica_set(members: Sequence[int], node: int, secrets: Secrets) -> None:
    # The import takes half a second, in which the servers start already.
    from postroad_stack.servers.replica_set import ensure_replica_set  # noqa: PLC0415

    await ensure_replica_set(members, node, secrets)
