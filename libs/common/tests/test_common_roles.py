"""Roles in the database: the table says what the services do, and the server holds them to it."""

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from gridfs import AsyncGridFSBucket
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from postroad_common.errors import StoreAway
from postroad_common.store import Database, rolemaking
from postroad_common.store.database import BELONGINGS
from postroad_common.store.indexes import INDEXES
from postroad_common.store.rolemaking import Login, make_roles
from postroad_common.store.roles import ROLES, Right

ROOT = Path(__file__).resolve().parents[3]
UNAUTHORIZED = 13
GOES_TOO = ("sessions", "invitations", "jobs", "saved_searches", "scheduled")
COLLECTIONS = sorted({name for role in ROLES.values() for name in role.rights})


def named_by(service: str) -> set[str]:
    """Return what the source of a service takes from its database, by name."""
    return {
        node.attr
        for file in (ROOT / "services" / service / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Attribute)
        and re.fullmatch(r"(.*[._])?database", ast.unparse(node.value))
    }


@pytest.mark.parametrize("service", sorted(ROLES))
def test_table_names_the_repositories_that_the_service_opens(service: str) -> None:
    assert named_by(service) == ROLES[service].opens


def test_every_service_has_a_role_and_every_index_somebody_who_makes_it() -> None:
    assert set(ROLES) == {path.name for path in (ROOT / "services").iterdir()}
    prepared = frozenset().union(*(role.prepares for role in ROLES.values()))
    assert set(INDEXES) <= prepared


def collections_of(repository: object) -> Iterator[str]:
    """Yield the names of the collections that a repository holds, also by others within it."""
    for value in vars(repository).values():
        for each in value.values() if isinstance(value, dict) else [value]:
            if isinstance(each, AsyncCollection):
                yield each.name
            elif isinstance(each, AsyncGridFSBucket):
                yield "bodies.files"
                yield "bodies.chunks"
            elif type(each).__module__.startswith("postroad_common.store."):
                yield from collections_of(each)


@pytest.mark.parametrize("service", sorted(ROLES))
async def test_role_has_the_collections_of_the_repositories_and_no_others(service: str) -> None:
    database = Database("mongodb://127.0.0.1:1/none")
    held = {
        name
        for repository in ROLES[service].opens
        for name in collections_of(getattr(database, repository))
    }
    await database.close()
    # Only who deletes accounts touches what goes with them.
    untouched = set() if "users" in ROLES[service].opens else {*BELONGINGS, *GOES_TOO}
    named = set(ROLES[service].rights)
    assert named <= held
    assert held - named <= untouched


@pytest.fixture
async def administered(mongodb_uri: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """Yield a database of its own, with rights for everything; its users and roles go with it."""
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as client:
        database = client.get_default_database()
        yield database
        await database.command("dropAllUsersFromDatabase")
        await database.command("dropAllRolesFromDatabase")


def uri_of(admin_uri: str, service: str, password: str) -> str:
    """Return the URI of a service's user in the database of `admin_uri`."""
    address = admin_uri.partition("@")[2] or admin_uri.removeprefix("mongodb://")
    where, _, options = address.partition("?")
    kept = [each for each in options.split("&") if each and not each.startswith("authSource=")]
    return f"mongodb://{service}:{password}@{where}?{'&'.join(kept)}"


async def rights_in(database: AsyncDatabase[dict[str, Any]], name: str) -> Right:
    """Return what the server lets a user do with a collection, tried one by one."""
    collection = database[name]
    nobody = {"_id": "nobody"}
    found = Right(0)
    for right, trial in (
        (Right.READ, lambda: collection.find_one(nobody)),
        (Right.ADD, lambda: collection.insert_one({"_id": "tried", "secret_hash": "tried"})),
        (Right.CHANGE, lambda: collection.update_one(nobody, {"$set": {"a": 1}})),
        (Right.REMOVE, lambda: collection.delete_one(nobody)),
    ):
        try:
            await trial()
        except OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise
        else:
            found |= right
    return found


async def test_each_user_may_do_what_the_table_says_and_nothing_else(
    administered: AsyncDatabase[dict[str, Any]], mongodb_uri: str
) -> None:
    logins = {service: Login(service, f"password of {service}"[:24]) for service in ROLES}
    await make_roles(administered, logins)
    for service, role in ROLES.items():
        uri = uri_of(mongodb_uri, service, logins[service].password.replace(" ", "%20"))
        async with AsyncMongoClient[dict[str, Any]](uri) as client:
            own = client.get_default_database()
            allowed = {name: await rights_in(own, name) for name in COLLECTIONS}
        for name in COLLECTIONS:
            await administered[name].delete_many({})
        assert {name: right for name, right in allowed.items() if right} == role.rights, service


async def test_service_prepares_its_own_collections_and_is_told_away_from_others(
    administered: AsyncDatabase[dict[str, Any]], mongodb_uri: str
) -> None:
    await make_roles(administered, {"bounce-processor": Login("bounce-processor", "secret")})
    database = Database(uri_of(mongodb_uri, "bounce-processor", "secret"))
    await database.prepare(ROLES["bounce-processor"].prepares)
    made = set(await administered.list_collection_names())
    assert made == ROLES["bounce-processor"].prepares & set(INDEXES)
    assert await database.strikes.days("main", "bob@receiver.test") == frozenset()
    with pytest.raises(StoreAway, match="not authorized"):
        await database.users.find("admin@shop.test")
    await database.close()
    wrong = Database(uri_of(mongodb_uri, "bounce-processor", "wrong"))
    with pytest.raises(StoreAway, match="Authentication failed"):
        await wrong.strikes.clear("main", "bob@receiver.test")
    await wrong.close()


def say_what_is_done(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command of an installation; return its exit code and what it says."""
    try:
        rolemaking.main(arguments)
    except SystemExit as ended:
        return f"{ended.code}: {capsys.readouterr().err}"
    return f"0: {capsys.readouterr().out}"


async def test_command_makes_the_users_of_an_installation_and_takes_over_new_passwords(
    administered: AsyncDatabase[dict[str, Any]],
    mongodb_uri: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for password in ("first", "second"):
        for service in ROLES:
            (tmp_path / service).mkdir(exist_ok=True)
            uri = uri_of(mongodb_uri, service, password)
            (tmp_path / service / "POSTROAD_MONGODB_URI").write_text(uri + "\n")
        said = await asyncio.to_thread(say_what_is_done, capsys, mongodb_uri, str(tmp_path))
        assert said == f"0: 7 users, each with its role, in the database {administered.name}\n"
        database = Database(uri_of(mongodb_uri, "sender", password))
        assert await database.policies.get("receiver.test") is None
        await database.close()


def test_command_says_what_is_wrong_with_the_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = "mongodb://127.0.0.1:1/"
    said = say_what_is_done(capsys, nowhere, str(tmp_path))
    assert said.startswith("1: ")
    assert "ingress-smtp/POSTROAD_MONGODB_URI: [Errno 2] No such file" in said
    for service in ROLES:
        (tmp_path / service).mkdir()
        uri = "mongodb://postroad:secret@127.0.0.1:1/postroad"
        (tmp_path / service / "POSTROAD_MONGODB_URI").write_text(uri)
    said = say_what_is_done(capsys, nowhere, str(tmp_path))
    assert said.startswith("1: ")
    assert "a user of its own for each service" in said
