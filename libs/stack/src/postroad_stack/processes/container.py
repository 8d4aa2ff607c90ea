"""Runs a program in a Docker container that shares this machine's network and the state dir.

The command line, the configuration files, the ports and the data are exactly those that the program
has on this machine (`servers.rabbitmq`, `servers.mongodb`); only the binary comes from the image.
"""

import asyncio
import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from docker.errors import APIError, DockerException, NotFound
from testcontainers.core.container import DockerContainer

from postroad_stack.processes.program import Program

if TYPE_CHECKING:
    from docker.models.containers import Container as DockerModel


class Container:
    """A running container; testcontainers' reaper removes it should the supervisor be killed."""

    def __init__(self, container: DockerContainer, pid: int) -> None:
        self._container = container
        self._docker: DockerModel = container.get_wrapped_container()
        self._log_copy: asyncio.Task[None] | None = None
        self._pid = pid

    @classmethod
    async def start(cls, program: Program) -> "Container":
        """Pull the image if needed, and start the program in it.

        Raises:
            OSError: Docker refused.
        """
        try:
            container = _container(program)
            await asyncio.to_thread(container.start)
            docker = container.get_wrapped_container()
            await asyncio.to_thread(docker.reload)
            started = cls(container, int(docker.attrs["State"]["Pid"]))
        except DockerException as error:
            raise OSError(str(error)) from error
        started._log_copy = asyncio.create_task(started._copy_log(program))
        return started

    @property
    def pid(self) -> int:
        """Process id on this machine."""
        return self._pid

    async def wait(self) -> int:
        """Return the exit code once it has ended; the container is then removed."""
        result = await asyncio.to_thread(self._docker.wait)
        if self._log_copy is not None:
            await self._log_copy
        await asyncio.to_thread(self._container.stop)
        return int(result["StatusCode"])

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal("SIGTERM")

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal("SIGKILL")

    def _signal(self, name: str) -> None:
        try:
            self._docker.kill(signal=name)
        except APIError:
            return  # it has ended already

    async def _copy_log(self, program: Program) -> None:
        def copy() -> None:
            with program.log.open("ab", buffering=0) as log:
                for piece in self._docker.logs(stream=True, follow=True):
                    log.write(piece)

        await asyncio.to_thread(copy)


def _container(program: Program) -> DockerContainer:
    digest = hashlib.sha256(str(program.folder).encode()).hexdigest()[:12]
    name = f"postroad-{program.label}-{digest}"
    container = (
        DockerContainer(program.image or "")
        .with_name(name)
        .with_envs(**{key: value for key, value in program.env.items() if key != "PATH"})
        .with_volume_mapping(program.folder, str(program.folder), "rw")
        .with_command(list(program.argv[1:]))
        .with_kwargs(
            entrypoint=program.argv[0],
            network_mode="host",
            user=f"{os.getuid()}:{os.getgid()}",
            working_dir=str(program.folder),
        )
    )
    with contextlib.suppress(NotFound):  # left by a killed supervisor, its reaper not yet there
        container.get_docker_client().client.containers.get(name).remove(force=True)
    return container
