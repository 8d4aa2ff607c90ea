"""The process behind a running stack: starts everything, keeps it running, stops it in order.

Started by `postroad up` (see `__main__`). The plan that `up` wrote says what it runs; what it knows
it writes to `status.json`. `processes.monitor` restarts single programs, `wiring` has the addresses
and environments.
"""

import asyncio
import logging
import os
import signal
import time

import psutil

from postroad_common import memory
from postroad_stack import logs
from postroad_stack.certificates import ensure_certificates
from postroad_stack.credential import ensure_credential
from postroad_stack.errors import StackError, StartFailedError
from postroad_stack.launching import FOR_GOOD
from postroad_stack.plan import StackPlan, fixed_ports
from postroad_stack.ports import PortBook
from postroad_stack.processes.child import born, same_process
from postroad_stack.processes.monitor import ProcessMonitor
from postroad_stack.processes.program import Program
from postroad_stack.processes.readiness import HealthPages
from postroad_stack.secrets import Secrets, load_secrets
from postroad_stack.servers import rabbitmq
from postroad_stack.servers.given import wait_for_given
from postroad_stack.state_dir import StateDir, write_atomically
from postroad_stack.status import Failure, ProcessState, StackPhase, StackStatus
from postroad_stack.wiring import Wiring, certificate_names

log = logging.getLogger("postroad_stack.supervisor")

_POLL_SECONDS = 1.0


class Supervisor:
    """One stack, from start to stop; `parent` is the process to end with, None to stay alone.

    Raises:
        StackError: on construction, when ports or files cannot be had.
    """

    def __init__(self, state: StateDir, plan: StackPlan, parent: int | None) -> None:
        self._parent: tuple[int, float | None] | None = None
        if parent is not None:
            self._parent = (parent, born(parent))
        self._state = state
        self._plan = plan
        self._secrets = load_secrets(state.secrets)
        fixed = fixed_ports(plan.environment, plan.replicas)
        self._ports = PortBook(state.ports, fixed)
        for name in fixed:  # before anything is started that would have to be stopped again
            self._ports.port(name)
        certificates = ensure_certificates(state.tls, certificate_names())
        self._wiring = Wiring(
            plan=plan,
            state=state,
            secrets=self._secrets,
            ports=self._ports,
            certificates=certificates,
            inherited=os.environ,
        )
        self._pages = HealthPages()
        self._servers: list[ProcessMonitor] = []
        self._services: list[ProcessMonitor] = []
        self._phase = StackPhase.STARTING
        self._failure: Failure | None = None
        self._since = time.time()
        self._born = psutil.Process().create_time()
        self._stop = asyncio.Event()
        self._for_good = False
        self._writing = False
        self._written = True

    async def run(self) -> int:
        """Start, supervise until asked to stop, stop; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(FOR_GOOD, self._stop_for_good)
        housekeeping = asyncio.create_task(self._poll(), name="poll")
        starting = asyncio.create_task(self._start(), name="start")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            self._judge(starting)
            if self._failure is None:
                await stopping
        else:
            starting.cancel()
        log.info("stopping")
        if self._failure is None:
            self._phase = StackPhase.STOPPING
        self._write()
        await self._stop_all()
        for task in (housekeeping, starting, stopping):
            task.cancel()
        await asyncio.gather(housekeeping, starting, stopping, return_exceptions=True)
        await self._pages.close()
        self._ports.release()
        if self._failure is None:
            self._phase = StackPhase.STOPPED
        self._write()
        log.info("stopped")
        return 1 if self._failure else 0

    async def _start(self) -> None:
        for notice in self._ports.notices:
            log.warning("%s", notice)
        await wait_for_given(self._plan, self._wiring.amqp, self._wiring.mongodb)
        if self._plan.nodes > 1:
            await self._start_cluster()
        else:
            self._servers = self._monitor(self._wiring.servers())
        # At once: a service that finds no broker or database yet waits for it.
        self._services = self._monitor(self._wiring.services(self._pages))
        await self._all_ready([*self._servers, *self._services])
        if "ingress-http" in self._plan.only:
            self._secrets = await self._with_credential(self._secrets)
        self._phase = StackPhase.READY
        log.info("ready after %.1f s", time.time() - self._since)
        memory.give_back()
        self._write()

    async def _start_cluster(self) -> None:
        """Start the servers, and return when all nodes are there.

        A new node joins one that runs; nodes that know their cluster wait for each other. A queue
        is kept by as many nodes as there are when it is declared, so no service is early.
        """
        programs = self._wiring.servers()
        waits = [
            program
            for program in programs
            if program.name == "rabbitmq"
            and program.replica
            and not rabbitmq.has_data(self._state, program.replica)
        ]
        self._servers = self._monitor([each for each in programs if each not in waits])
        await self._all_ready(self._servers)
        for program in waits:
            joined = self._monitor([program])
            self._servers += joined
            await self._all_ready(joined)

    def _monitor(self, programs: list[Program]) -> list[ProcessMonitor]:
        monitors = [ProcessMonitor(program, self._changed) for program in programs]
        for monitor in monitors:
            monitor.start()
        return monitors

    async def _all_ready(self, monitors: list[ProcessMonitor]) -> None:
        """Wait for all; the first that cannot become ready ends the wait for the others."""
        try:
            async with asyncio.TaskGroup() as group:
                for monitor in monitors:
                    group.create_task(monitor.ready())
        except BaseExceptionGroup as group_error:
            failed, _ = group_error.split(StartFailedError)
            if failed is not None:
                raise failed.exceptions[0] from None
            raise

    async def _with_credential(self, secrets: Secrets) -> Secrets:
        login = await ensure_credential(
            self._wiring.http, self._wiring.admin_token, secrets.credential
        )
        if login != secrets.credential:
            secrets = secrets.model_copy(update={"credential": login})
            with self._state.writing():
                secrets.save(self._state.secrets)
        return secrets

    def _judge(self, starting: asyncio.Task[None]) -> None:
        error = starting.exception()
        match error:
            case None:
                return
            case StartFailedError():
                self._failure = error.failure
            case StackError():
                self._failure = Failure(
                    process="postroad", reason=str(error), log="", advice=error.advice
                )
            case _:
                raise error
        self._phase = StackPhase.FAILED
        log.error("%s: %s", self._failure.process, self._failure.reason)

    async def _stop_all(self) -> None:
        """Services drain into the servers first, and into the sink, which ends with them last."""
        sink = [monitor for monitor in self._services if monitor.program.name == "sink"]
        services = [monitor for monitor in self._services if monitor not in sink]
        daemon = [monitor for monitor in self._servers if monitor.program.name == "epmd"]
        servers = [monitor for monitor in self._servers if monitor not in daemon]
        for wave in (services, sink + servers, daemon):
            at_once = self._for_good and wave is not services
            await asyncio.gather(*(monitor.stop(at_once=at_once) for monitor in wave))

    def _stop_for_good(self) -> None:
        """Stop without putting the servers' data in order: they are going to be removed."""
        self._for_good = True
        self._stop.set()

    async def _poll(self) -> None:
        """Bound the logs; stop the stack with the process to follow, or with its folder."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if not self._state.still_held():
                log.error("the state dir was removed")
                self._stop_for_good()
                return
            if not self._written:
                self._write()
            for path in self._state.logs.glob("*.log"):
                if logs.bound(path):
                    log.info("%s grew too large and was moved to %s.1", path.name, path.name)
            if self._parent is not None and not same_process(*self._parent):
                log.warning("the process that this stack was to end with has ended")
                self._parent = None
                self._stop.set()

    def _changed(self) -> None:
        """Write the status soon; several changes at once are written once."""
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        self._writing = False
        if not self._state.still_held():  # what stands there now is another stack's
            return
        statuses = tuple(monitor.status for monitor in (*self._servers, *self._services))
        pids: dict[str, list[int]] = {"supervisor": [os.getpid()]}
        replicas: dict[str, list[int]] = {}
        for process in statuses:
            running = pids.setdefault(process.name, [])
            if process.pid is not None and process.state is not ProcessState.STOPPED:
                running.append(process.pid)
            replicas.setdefault(process.name, []).append(process.replica)
        ready = self._phase is StackPhase.READY
        status = StackStatus(
            phase=self._phase,
            supervisor=os.getpid(),
            born=self._born,
            since=self._since,
            written=time.time(),
            processes=statuses,
            notices=tuple(self._ports.notices),
            failure=self._failure,
            document=self._wiring.document(self._secrets, pids, replicas) if ready else None,
        )
        try:
            write_atomically(self._state.status, status.model_dump_json())
            self._written = True
        except OSError as error:  # the next poll tries again
            if self._written:
                log.warning("the status cannot be written: %s", error.strerror)
            self._written = False
