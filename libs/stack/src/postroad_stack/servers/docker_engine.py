"""Asks whether a Docker engine is there that can share this machine's network and folders."""

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from postroad_stack.errors import StackError

_TRY = 5
_SOCKET = "unix:///var/run/docker.sock"
_UNIX = "unix://"
_CREDENTIALS = struct.Struct("3i")  # process, user, group


def answers(*, required: bool) -> bool:
    """Tell whether containers can be started here.

    The engine must be this machine's: the servers listen on its loopback and keep their data in
    the state dir. From inside a container, or through TCP, an engine sees neither.

    Raises:
        StackError: `required`, and it does not answer.
    """
    problem = _problem()
    if problem and required:
        raise StackError(
            f"Docker cannot be used: {problem}", advice="start Docker, or use --servers local"
        )
    return problem is None


def fetch(image: str, say: Callable[[str], None]) -> None:
    """Pull an image unless it is there, before anything is started that would wait for it.

    Args:
        image: name and tag.
        say: told what is being fetched.

    Raises:
        StackError: the registry refused or is not reached.
    """
    import docker  # noqa: PLC0415  (see `_problem`)
    from docker.errors import DockerException, ImageNotFound  # noqa: PLC0415

    try:
        with contextlib.closing(docker.from_env()) as client:
            try:
                client.images.get(image)
            except ImageNotFound:
                say(f"Docker image {image} (once)")
                client.images.pull(*image.split(":"))
    except DockerException as error:
        raise StackError(
            f"Docker cannot fetch {image}: {error}",
            advice="check the network, or use --servers local",
        ) from None


def _problem() -> str | None:
    import docker  # noqa: PLC0415  (slow to import, and needed by this question only)
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        with contextlib.closing(docker.from_env(timeout=_TRY)) as client:
            if not str(client.api.base_url).startswith("http+docker://"):
                return f"the engine at {client.api.base_url} is not on this machine"
            client.ping()
    except DockerException as error:
        return str(error).splitlines()[0]
    return _elsewhere(os.environ.get("DOCKER_HOST") or _SOCKET)


def _elsewhere(host: str) -> str | None:
    """Say why the engine behind a socket is not on this machine, as it is seen from here.

    The kernel tells which process listens there: none that we could see, or one of another network,
    where this is a container that was lent the socket of the engine that runs it.
    """
    reason = "the engine is outside of the container that this is"
    if not host.startswith(_UNIX):
        return None
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TRY)
            connection.connect(host.removeprefix(_UNIX))
            size = _CREDENTIALS.size
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        process, _, _ = _CREDENTIALS.unpack(found)
        if process == 0:
            return reason
        theirs, ours = (Path(f"/proc/{name}/ns/net").stat().st_ino for name in (process, "self"))
    except PermissionError:
        return None  # it is root's, and this is not: it can be seen, so it is here
    except OSError as error:
        return str(error)
    return None if theirs == ours else reason
