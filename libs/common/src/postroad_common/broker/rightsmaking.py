"""Makes for each service the user of RabbitMQ that its URL names, with the rights of `rights`.

`python -m postroad_common.broker.rightsmaking SECRETS` writes them, and the whole topology, as
definitions, for `rabbitmqctl import_definitions`; a folder in SECRETS for each service has its
POSTROAD_AMQP_URL. With `--management URL` they go to a broker by its management API. Either may be
done again at any time; passwords that changed are taken over, and so are rights and queues of a new
version.
"""

import argparse
import base64
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from yarl import URL

from postroad_common.broker.definitions import BrokerLogin, topology_of, users_of
from postroad_common.broker.rights import RIGHTS

_URL = "POSTROAD_AMQP_URL"
_PATIENCE = 120.0  # seconds for a broker that is only starting
_PAUSE = 2.0
_TRY = 15.0
_FAULT_OF_SERVER = 500


class RightsmakingError(Exception):
    """The users could not be made; the text says what to do."""


def read_logins(folder: Path) -> tuple[str, dict[str, BrokerLogin]]:
    """Return the name of the virtual host and the login of each service, from its URL in `folder`.

    Raises:
        RightsmakingError: a URL is missing, names no user, or another virtual host than the others.
    """
    vhosts: set[str] = set()
    logins: dict[str, BrokerLogin] = {}
    for service in RIGHTS:
        file = folder / service / _URL
        try:
            url = URL(file.read_text().split(",")[0].strip())
        except (OSError, ValueError) as error:
            raise RightsmakingError(f"{file}: {error}") from None
        if not (url.user and url.password):
            raise RightsmakingError(f"{file} names no user or no password")
        vhosts.add(unquote(url.raw_path[1:]) or "/")
        logins[service] = BrokerLogin(url.user, url.password)
    users = {login.user for login in logins.values()}
    if len(vhosts) > 1 or len(users) < len(logins):
        raise RightsmakingError(f"{folder}: one virtual host, and a user of its own per service")
    return vhosts.pop(), logins


class Management:
    """The management API at a URL with an administrator in it."""

    def __init__(self, address: str) -> None:
        url = URL(address)
        self._url = url.with_user(None)
        login = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
        self._headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}

    def wait_for(self, nodes: int) -> None:
        """Return when so many nodes run: a queue gets its copies when it is made.

        Raises:
            RightsmakingError: not within two minutes, or the user is refused.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                running = sum(bool(each.get("running")) for each in json.loads(self._ask("nodes")))
            except OSError as error:
                text = str(error)
            else:
                if running >= nodes:
                    return
                text = f"{running} of {nodes} nodes run"
            if time.monotonic() > deadline:
                raise RightsmakingError(f"{self._url}: {text}")
            time.sleep(_PAUSE)

    def load(self, made: Mapping[str, Any]) -> None:
        """Hand definitions over.

        Raises:
            RightsmakingError: it refuses.
            OSError: it is not there.
        """
        self._ask("definitions", json.dumps(made).encode())

    def _ask(self, what: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - where the administrator says
            str(self._url / "api" / what), body, self._headers
        )
        try:
            with urllib.request.urlopen(request, timeout=_TRY) as answer:  # noqa: S310 - as above
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            if error.code >= _FAULT_OF_SERVER:
                raise
            text = error.read().decode(errors="replace")[:200]
            raise RightsmakingError(f"{self._url}: {error.code} {text}") from None


def _administrator(management: str, folder: Path | None) -> str:
    """Return the URL of the management API, with the user in it."""
    if not management.startswith("http"):  # a file that keeps it from the list of processes
        return Path(management).read_text().strip()
    if folder is None:
        return management
    user, password = ((folder / name).read_text().strip() for name in ("username", "password"))
    return str(URL(management).with_user(user).with_password(password))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the users of an installation; exits with 1 where that does not work."""
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="rightsmaking", description=description)
    parser.add_argument("secrets", type=Path, help="folder with a folder for each service")
    parser.add_argument(
        "--management", metavar="URL", help="http:// URL of an administrator, or a file with it"
    )
    parser.add_argument(
        "--administrator", type=Path, help="folder with its `username` and `password`"
    )
    parser.add_argument("--nodes", type=int, default=1, help="wait until so many run")
    chosen = parser.parse_args(arguments)
    try:
        vhost, logins = read_logins(chosen.secrets)
        made = users_of(vhost, logins) | topology_of(vhost)
        if chosen.management is None:
            sys.stdout.write(json.dumps(made, indent=2) + "\n")
            return
        management = Management(_administrator(chosen.management, chosen.administrator))
        management.wait_for(chosen.nodes)
        management.load(made)
    except (RightsmakingError, OSError) as error:
        sys.stderr.write(f"rightsmaking: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{len(logins)} users, each with its rights, in the virtual host {vhost}\n")


if __name__ == "__main__":
    main()
