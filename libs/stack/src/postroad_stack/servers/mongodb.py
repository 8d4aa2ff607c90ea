"""MongoDB as a private one-node replica set: its command line, its set-up, its readiness.

A replica set, because transactions, change streams and majority write concern need one. Works for
MongoDB 6 to 8. The product's own use of the database is in `postroad_common.store`; here is only
the administration that brings a new server up.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from postroad_stack.errors import NotReadyError
from postroad_stack.plan import ServerChoice, Source
from postroad_stack.ports import PortBook
from postroad_stack.processes.program import Program
from postroad_stack.secrets import Secrets
from postroad_stack.state_dir import StateDir, write_atomically

DATABASE = "postroad"
_SET = "postroad"
_PATIENCE = 90.0
_GRACE = 30.0
_TRY_MS = 3000

# Server error codes (src/mongo/base/error_codes.yml).
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94
_USER_EXISTS = 51003


def url(secrets: Secrets, ports: PortBook) -> str:
    """Return the URL of the stack's own database, with the database in its path."""
    password = quote(secrets.database_password, safe="")
    return (
        f"mongodb://{secrets.database_user}:{password}@127.0.0.1:{ports.port('mongodb')}"
        f"/{DATABASE}?authSource=admin&replicaSet={_SET}"
    )


def programs(
    choice: ServerChoice,
    state: StateDir,
    secrets: Secrets,
    ports: PortBook,
    inherited: Mapping[str, str],
) -> list[Program]:
    """Return the server; nothing when the database was given by URL."""
    if choice.source is Source.GIVEN:
        return []
    port = ports.port("mongodb")
    data = state.mongodb / "data"
    data.mkdir(exist_ok=True, mode=0o700)
    key = state.mongodb / "key"
    write_atomically(key, secrets.database_key)
    image = choice.where if choice.source is Source.DOCKER else None
    env = {name: inherited[name] for name in ("PATH", "LANG", "LC_ALL") if name in inherited}
    env["HOME"] = str(state.mongodb)
    if choice.library_path is not None:
        env["LD_LIBRARY_PATH"] = choice.library_path

    async def ready() -> None:
        await ensure_replica_set(port, secrets)

    return [
        Program(
            name="mongod",
            argv=(
                "mongod" if image else choice.where,
                *("--bind_ip", "127.0.0.1"),
                *("--port", str(port)),
                *("--dbpath", str(data)),
                *("--replSet", _SET),
                *("--keyFile", str(key)),
                *("--wiredTigerCacheSizeGB", "0.5"),
                *("--oplogSize", "512"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                "--nounixsocket",
                "--quiet",
            ),
            env=env,
            log=state.log_of("mongod"),
            ready=ready,
            patience=_PATIENCE,
            grace=_GRACE,
            folder=state.mongodb,
            image=image,
        )
    ]


async def ensure_replica_set(port: int, secrets: Secrets) -> None:
    """Make the server a one-node replica set with our user, whatever of it is there already.

    Raises:
        NotReadyError: it does not answer, or is not primary yet.
    """
    user, password = secrets.database_user, secrets.database_password
    try:
        async with _client(port, username=user, password=password) as client:
            try:
                await _ensure_primary(client, port)
            except OperationFailure as error:
                if error.code != _AUTHENTICATION_FAILED:
                    raise
                await _first_start(port, user, password)
    except PyMongoError as error:
        raise NotReadyError(f"the database is not primary yet: {_first_line(error)}") from None


async def check_database(address: str) -> None:
    """Return when a database lets us in at this URL.

    Raises:
        NotReadyError: it does not answer, or refuses the login.
    """
    try:
        async with AsyncMongoClient[dict[str, Any]](
            address, serverSelectionTimeoutMS=_TRY_MS
        ) as client:
            await client.get_default_database(DATABASE).command("ping")
    except PyMongoError as error:
        raise NotReadyError(f"the database does not let us in: {_first_line(error)}") from None


async def _first_start(port: int, user: str, password: str) -> None:
    """Initiate the set and make the user, by the exception that a server without users grants."""
    async with _client(port) as client:
        try:
            await _ensure_primary(client, port)
        except OperationFailure as error:
            if error.code not in {_UNAUTHORIZED, _NOT_YET_INITIALIZED}:
                raise
            await _initiate(client, port)
        hello = await client.admin.command("hello")
        if not hello.get("isWritablePrimary"):
            raise NotReadyError("the replica set is electing its primary")
        try:
            await client.admin.command("createUser", user, pwd=password, roles=["root"])
        except OperationFailure as error:
            if error.code != _USER_EXISTS:
                raise


async def _initiate(client: AsyncMongoClient[dict[str, Any]], port: int) -> None:
    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
    try:
        await client.admin.command("replSetInitiate", {"_id": _SET, "members": [member]})
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise


async def _ensure_primary(client: AsyncMongoClient[dict[str, Any]], port: int) -> None:
    answer = await client.admin.command("replSetGetConfig")
    config = answer["config"]
    host = f"127.0.0.1:{port}"
    if [member["host"] for member in config["members"]] != [host]:
        # The port was chosen anew: the set knows this node by its old address and must be told.
        config["members"][0]["host"] = host
        config["version"] += 1
        await client.admin.command("replSetReconfig", config, force=True)
    hello = await client.admin.command("hello")
    if not hello.get("isWritablePrimary"):
        raise NotReadyError("the replica set is electing its primary")


def _client(
    port: int, *, username: str | None = None, password: str | None = None
) -> AsyncMongoClient[dict[str, Any]]:
    return AsyncMongoClient(
        "127.0.0.1",
        port,
        directConnection=True,
        username=username,
        password=password,
        serverSelectionTimeoutMS=_TRY_MS,
        connectTimeoutMS=_TRY_MS,
        socketTimeoutMS=_TRY_MS,
    )


def _first_line(error: PyMongoError) -> str:
    return str(error).splitlines()[0][:200]
