"""Makes the roles of `roles`, and for each service the user that its URI names.

`python -m postroad_common.store.rolemaking ADMIN_URI SECRETS` does it for an installation: a
folder in SECRETS for each service has its POSTROAD_MONGODB_URI. It may be run again at any time;
passwords that changed are taken over, and so are roles that a new version has changed.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from postroad_common.store.roles import ROLES

# Server error codes (src/mongo/base/error_codes.yml).
_ROLE_EXISTS = 51002
_USER_EXISTS = 51003
_UNAUTHORIZED = frozenset({13, 18})
_PATIENCE_MS = 60_000
_URI = "POSTROAD_MONGODB_URI"


class RolemakingError(Exception):
    """The roles could not be made; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who a service is to the database."""

    user: str
    password: str


async def make_roles(database: AsyncDatabase[dict[str, Any]], logins: Mapping[str, Login]) -> None:
    """Make the roles in `database`, and there a user with its role for each service in `logins`.

    What is there already becomes what it should be.

    Raises:
        PyMongoError: the server is away, or refuses.
    """
    for service, login in logins.items():
        privileges = ROLES[service].privileges(database.name)
        await _make(database, "Role", _ROLE_EXISTS, service, privileges=privileges, roles=[])
        roles = [{"db": database.name, "role": service}]
        await _make(database, "User", _USER_EXISTS, login.user, pwd=login.password, roles=roles)


async def _make(
    database: AsyncDatabase[dict[str, Any]], kind: str, exists: int, name: str, **is_to: Any
) -> None:
    try:
        await database.command(f"create{kind}", name, **is_to)
    except OperationFailure as error:
        if error.code != exists:
            raise
        await database.command(f"update{kind}", name, **is_to)


def read_logins(folder: Path) -> tuple[str, dict[str, Login]]:
    """Return the name of the database and the login of each service, from its URI in `folder`.

    Raises:
        RolemakingError: a URI is missing, names no user, or another database than the others.
    """
    names: set[str] = set()
    logins: dict[str, Login] = {}
    for service in ROLES:
        file = folder / service / _URI
        try:
            parsed = parse_uri(file.read_text().strip(), validate=False)
        except (OSError, PyMongoError) as error:
            raise RolemakingError(f"{file}: {error}") from None
        name, source = parsed["database"], parsed["options"].get("authsource")
        user, password = parsed["username"], parsed["password"]
        if not (name and user and password):
            raise RolemakingError(f"{file} names no database, no user or no password")
        if source not in {None, name}:
            raise RolemakingError(f"{file}: the user is to be in {name}, so leave authSource out")
        names.add(name)
        logins[service] = Login(user, password)
    users = {login.user for login in logins.values()}
    if len(names) > 1 or len(users) < len(logins):
        raise RolemakingError(f"{folder}: one database, and a user of its own for each service")
    return names.pop(), logins


async def _run(uri: str, name: str, logins: Mapping[str, Login]) -> None:
    async with AsyncMongoClient[dict[str, Any]](
        uri, serverSelectionTimeoutMS=_PATIENCE_MS
    ) as client:
        try:
            await client.admin.command("usersInfo")
        except OperationFailure as error:
            if error.code not in _UNAUTHORIZED:
                raise
            await _make_administrator(uri)
        await make_roles(client[name], logins)


async def _make_administrator(uri: str) -> None:
    """Make the user of `uri`, by the exception that a server without users grants on loopback."""
    parsed = parse_uri(uri, validate=False)
    user, password = parsed["username"], parsed["password"]
    host, port = parsed["nodelist"][0]
    async with AsyncMongoClient[dict[str, Any]](host, port, directConnection=True) as first:
        await first.admin.command("createUser", user, pwd=password, roles=["root"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the roles and users of an installation; exits with 1 where that does not work."""
    parser = argparse.ArgumentParser(prog="rolemaking", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("admin_uri", help="mongodb:// URI of a user who may make users")
    parser.add_argument("secrets", type=Path, help="folder with a folder for each service")
    chosen = parser.parse_args(arguments)
    uri: str = chosen.admin_uri
    try:
        if not uri.startswith("mongodb"):  # a file that keeps it from the list of processes
            uri = Path(uri).read_text().strip()
        name, logins = read_logins(chosen.secrets)
        asyncio.run(_run(uri, name, logins))
    except (RolemakingError, PyMongoError, OSError) as error:
        sys.stderr.write(f"rolemaking: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{len(logins)} users, each with its role, in the database {name}\n")


if __name__ == "__main__":
    main()
