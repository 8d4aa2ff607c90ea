"""MongoDB's replica set: made, joined, asked whether it is ready. Imported once a server starts.

The driver and the product's roles take half a second to import, in which the servers start already.
"""

from collections.abc import Sequence
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from postroad_common.servertls import ServerTls, explain_tls
from postroad_common.store.rolemaking import Login, make_roles
from postroad_stack.errors import NotReadyError
from postroad_stack.plan import SERVICES
from postroad_stack.secrets import Secrets
from postroad_stack.servers.mongodb import DATABASE, REPLICA_SET

NO_TLS = ServerTls()
ELECTION_TIMEOUT_MS = 5000
"""How long members wait for a silent primary before they elect another; MongoDB's default is 10 s.
"""
_TRY_MS = 3000
_ELECTING = "the replica set is electing its primary"

# Server error codes (src/mongo/base/error_codes.yml).
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94
_USER_EXISTS = 51003


async def ensure_replica_set(members: Sequence[int], node: int, secrets: Secrets) -> None:
    """Make the servers on these ports a replica set with our user, whatever is there already.

    The first makes it, and is its primary unless it was away; the others wait to be taken in.

    Raises:
        NotReadyError: `node` does not answer, or is neither primary nor secondary yet.
    """
    user, password = secrets.database_user, secrets.database_password
    port = members[node]
    try:
        async with _client(port, username=user, password=password) as client:
            try:
                await _ensure_member(client, members, node)
            except OperationFailure as error:
                if error.code != _AUTHENTICATION_FAILED or node:
                    raise
                await _first_start(members, user, password)
            if (await client.admin.command("hello")).get("isWritablePrimary"):
                await make_roles(client[DATABASE], _logins(secrets))
    except PyMongoError as error:
        raise NotReadyError(f"the database is not ready yet: {_first_line(error)}") from None


def _logins(secrets: Secrets) -> dict[str, Login]:
    return {name: Login(name, secrets.database_password_of(name)) for name in SERVICES}


async def check_database(address: str, tls: ServerTls = NO_TLS) -> None:
    """Return when a database lets us in at this URL.

    Raises:
        NotReadyError: it does not answer, or refuses the login.
    """
    try:
        with tls.mongodb_options() as options:
            client = AsyncMongoClient[dict[str, Any]](
                address, serverSelectionTimeoutMS=_TRY_MS, **options
            )
        async with client:
            await client.get_default_database(DATABASE).command("ping")
    except (PyMongoError, OSError) as error:
        text = str(error)
        reason = text.splitlines()[0][:200] + explain_tls(text, "POSTROAD_MONGODB")
        raise NotReadyError(f"the database does not let us in: {reason}") from None


async def _first_start(members: Sequence[int], user: str, password: str) -> None:
    """Initiate the set and make the user, by the exception that a server without users grants."""
    async with _client(members[0]) as client:
        try:
            await _ensure_member(client, members, 0)
        except OperationFailure as error:
            if error.code not in {_UNAUTHORIZED, _NOT_YET_INITIALIZED}:
                raise
            await _initiate(client, members)
        hello = await client.admin.command("hello")
        if not hello.get("isWritablePrimary"):
            raise NotReadyError(_ELECTING)
        try:
            await client.admin.command("createUser", user, pwd=password, roles=["root"])
        except OperationFailure as error:
            if error.code != _USER_EXISTS:
                raise


async def _initiate(client: AsyncMongoClient[dict[str, Any]], members: Sequence[int]) -> None:
    found = [
        # The first is elected at the start, since only there the user can be made.
        {"_id": node, "host": f"127.0.0.1:{port}", "priority": 1 if node else 2}
        for node, port in enumerate(members)
    ]
    wanted = {
        "_id": REPLICA_SET,
        "members": found,
        "settings": {"electionTimeoutMillis": ELECTION_TIMEOUT_MS},
    }
    try:
        await client.admin.command("replSetInitiate", wanted)
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise


async def _ensure_member(
    client: AsyncMongoClient[dict[str, Any]], members: Sequence[int], node: int
) -> None:
    if len(members) == 1:
        answer = await client.admin.command("replSetGetConfig")
        config = answer["config"]
        host = f"127.0.0.1:{members[0]}"
        if [member["host"] for member in config["members"]] != [host]:
            # The port was chosen anew: the set knows this node by its old address.
            config["members"][0]["host"] = host
            config["version"] += 1
            await client.admin.command("replSetReconfig", config, force=True)
    elif node == 0:
        await client.admin.command("replSetGetConfig")  # says where there is none yet
    hello = await client.admin.command("hello")
    if not (hello.get("isWritablePrimary") or (len(members) > 1 and hello.get("secondary"))):
        raise NotReadyError(_ELECTING)


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
