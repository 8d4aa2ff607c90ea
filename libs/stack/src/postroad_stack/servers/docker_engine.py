"""Asks whether a Docker engine is there that can share this machine's network and folders.

Not yet run against a real Docker engine.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

from postroad_stack.errors import StackError

_TRY = 5


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
    if Path("/.dockerenv").exists():
        return "this is a container itself"
    import docker  # noqa: PLC0415  (slow to import, and needed by this question only)
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        with contextlib.closing(docker.from_env(timeout=_TRY)) as client:
            if not str(client.api.base_url).startswith("http+docker://"):
                return f"the engine at {client.api.base_url} is not on this machine"
            client.ping()
    except DockerException as error:
        return str(error).splitlines()[0]
    return None
