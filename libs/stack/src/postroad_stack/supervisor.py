"""The process behind a running stack: starts everything, keeps it running, stops it in order.

Started by `postroad up`; `python -m postroad_stack.supervisor --state-dir DIR`. What it runs stands
in the plan that `up` wrote; what it knows it writes to `status.json`. The restarting of single
programs is in `keeper`, the addresses and environments are in `wiring`.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path

import psutil

from postroad_stack import logs
from postroad_stack.certificates import ensure_certificates
from postroad_stack.child import born, same_process
from postroad_stack.credential import ensure_credential
from postroad_stack.errors import NotReadyError, StackError, StartFailedError
from postroad_stack.identity import Identity, load_identity
from postroad_stack.keeper import Keeper
from postroad_stack.launching import FOR_GOOD
from postroad_stack.plan import Plan, Source, fixed_ports
from postroad_stack.ports import PortBook
from postroad_stack.program import Program
from postroad_stack.readiness import HealthPages
from postroad_stack.servers.mongodb import check_database
from postroad_stack.servers.rabbitmq import check_broker
from postroad_stack.state_dir import StateDir, write_atomically
from postroad_stack.status import Failure, Phase, ProcessState, StackStatus
from postroad_stack.wiring import Wiring, certificate_names

log = logging.getLogger("postroad_stack.supervisor")

_LOOK_EVERY = 1.0


class Supervisor:
    """One stack, from start to stop; `parent` is the process to end with, None to stay alone.

    Raises:
        StackError: on construction, when ports or files cannot be had.
    """

    def __init__(self, state: StateDir, plan: Plan, parent: int | None) -> None:
        self._parent: tuple[int, float | None] | None = None
        if parent is not None:
            self._parent = (parent, born(parent))
        self._state = state
        self._plan = plan
        self._identity = load_identity(state.identity)
        fixed = fixed_ports(plan.environment, plan.replicas)
        self._ports = PortBook(state.ports, fixed)
        for name in fixed:  # before anything is started that would have to be stopped again
            self._ports.port(name)
        certificates = ensure_certificates(state.tls, certificate_names())
        self._wiring = Wiring(
            plan=plan,
            state=state,
            identity=self._identity,
            ports=self._ports,
            certificates=certificates,
            inherited=os.environ,
        )
        self._pages = HealthPages()
        self._servers: list[Keeper] = []
        self._services: list[Keeper] = []
        self._phase = Phase.STARTING
        self._failure: Failure | None = None
        self._since = time.time()
        self._born = psutil.Process().create_time()
        self._stop = asyncio.Event()
        self._for_good = False
        self._writing = False

    async def run(self) -> int:
        """Start, supervise until asked to stop, stop; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(FOR_GOOD, self._stop_for_good)
        housekeeping = asyncio.create_task(self._look_around(), name="look around")
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
            self._phase = Phase.STOPPING
        self._write()
        await self._stop_all()
        for task in (housekeeping, starting, stopping):
            task.cancel()
        await asyncio.gather(housekeeping, starting, stopping, return_exceptions=True)
        await self._pages.close()
        self._ports.release()
        if self._failure is None:
            self._phase = Phase.STOPPED
        self._write()
        log.info("stopped")
        return 1 if self._failure else 0

    async def _start(self) -> None:
        for notice in self._ports.notices:
            log.warning("%s", notice)
        await self._check_given()
        self._servers = self._keep(self._wiring.servers())
        # At once: a service that finds no broker or database yet waits for it.
        self._services = self._keep(self._wiring.services(self._pages))
        await self._all_ready([*self._servers, *self._services])
        if "ingress-http" in self._plan.only:
            self._identity = await self._with_credential(self._identity)
        self._phase = Phase.READY
        log.info("ready after %.1f s", time.time() - self._since)
        self._write()

    def _keep(self, programs: list[Program]) -> list[Keeper]:
        keepers = [Keeper(program, self._changed) for program in programs]
        for keeper in keepers:
            keeper.start()
        return keepers

    async def _all_ready(self, keepers: list[Keeper]) -> None:
        """Wait for all; the first that cannot become ready ends the wait for the others."""
        try:
            async with asyncio.TaskGroup() as group:
                for keeper in keepers:
                    group.create_task(keeper.ready())
        except BaseExceptionGroup as group_error:
            failed, _ = group_error.split(StartFailedError)
            if failed is not None:
                raise failed.exceptions[0] from None
            raise

    async def _check_given(self) -> None:
        """See that servers given by URL are there and let us in; they may be starting, too."""
        for name, choice, check, url in (
            ("rabbitmq", self._plan.rabbitmq, check_broker, self._wiring.amqp),
            ("mongod", self._plan.mongod, check_database, self._wiring.mongodb),
        ):
            if choice.source is not Source.GIVEN:
                continue
            deadline = time.monotonic() + 30.0
            while True:
                try:
                    await check(url)
                    break
                except NotReadyError as error:
                    if time.monotonic() > deadline:
                        raise StartFailedError(
                            Failure(
                                process=name,
                                reason=f"the server given by URL cannot be used: {error}",
                                log="",
                                advice="check the URL, the login and that the server runs",
                            )
                        ) from None
                await asyncio.sleep(0.5)

    async def _with_credential(self, identity: Identity) -> Identity:
        login = await ensure_credential(
            self._wiring.http, self._wiring.admin_token, identity.credential
        )
        if login != identity.credential:
            identity = identity.model_copy(update={"credential": login})
            identity.save(self._state.identity)
        return identity

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
        self._phase = Phase.FAILED
        log.error("%s: %s", self._failure.process, self._failure.reason)

    async def _stop_all(self) -> None:
        """Services drain into the servers first, and into the sink, which ends with them last."""
        sink = [keeper for keeper in self._services if keeper.program.name == "sink"]
        services = [keeper for keeper in self._services if keeper not in sink]
        daemon = [keeper for keeper in self._servers if keeper.program.name == "epmd"]
        servers = [keeper for keeper in self._servers if keeper not in daemon]
        for wave in (services, sink + servers, daemon):
            at_once = self._for_good and wave is not services
            await asyncio.gather(*(keeper.stop(at_once=at_once) for keeper in wave))

    def _stop_for_good(self) -> None:
        """The data are going to be removed: the servers need not put them in order."""
        self._for_good = True
        self._stop.set()

    async def _look_around(self) -> None:
        """See to it that no log grows without bound, and that the parent to follow still lives."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
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
        statuses = tuple(keeper.status for keeper in (*self._servers, *self._services))
        pids: dict[str, list[int]] = {"supervisor": [os.getpid()]}
        replicas: dict[str, list[int]] = {}
        for process in statuses:
            running = pids.setdefault(process.name, [])
            if process.pid is not None and process.state is not ProcessState.STOPPED:
                running.append(process.pid)
            replicas.setdefault(process.name, []).append(process.replica)
        ready = self._phase is Phase.READY
        status = StackStatus(
            phase=self._phase,
            supervisor=os.getpid(),
            born=self._born,
            since=self._since,
            written=time.time(),
            processes=statuses,
            notices=tuple(self._ports.notices),
            failure=self._failure,
            document=self._wiring.document(self._identity, pids, replicas) if ready else None,
        )
        write_atomically(self._state.status, status.model_dump_json())


def main() -> None:
    """Run the supervisor of the state dir named on the command line."""
    parser = argparse.ArgumentParser(prog="postroad-supervisor", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--parent", type=int, help="process to end with")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    for chatty in ("httpx", "aiormq", "aio_pika", "pymongo"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    state = StateDir(arguments.state_dir)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(_supervise(state, arguments.parent))


def _supervise(state: StateDir, parent: int | None) -> int:
    try:
        with state.held():
            plan = Plan.model_validate_json(state.plan.read_bytes())
            return asyncio.run(_run(state, plan, parent))
    except StackError as error:
        log.error("%s", error)  # noqa: TRY400  (the message is the whole story)
        _write_failure(state, error)
        return 1


async def _run(state: StateDir, plan: Plan, parent: int | None) -> int:
    return await Supervisor(state, plan, parent).run()


def _write_failure(state: StateDir, error: StackError) -> None:
    now = time.time()
    status = StackStatus(
        phase=Phase.FAILED,
        supervisor=os.getpid(),
        born=now,
        since=now,
        written=now,
        failure=Failure(process="postroad", reason=str(error), log="", advice=error.advice),
    )
    write_atomically(state.status, status.model_dump_json())


if __name__ == "__main__":
    main()
