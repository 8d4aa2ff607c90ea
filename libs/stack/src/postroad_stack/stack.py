"""A whole stack as an object: for the session fixtures of tests, and for benchmarks.

```python
with Stack.start(tmp_path / "stack", env={"POSTROAD_RETRY_SCHEDULE": "1,2"}) as stack:
    stack.api().post("/v1/send", {...})
    stack.kill("sender")
    stack.wait_back("sender")
```

It is the stack that `postroad up` starts, by the same code, with a supervisor process of its own.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from postroad_stack import launching
from postroad_stack.document import StackDocument
from postroad_stack.errors import StackError
from postroad_stack.plan import EVERYTHING, SINK, StackPlan
from postroad_stack.processes.child import same_process
from postroad_stack.rest import RestClient
from postroad_stack.servers.choose import (
    Preference,
    check_cluster,
    choose_servers,
    continued,
    continued_nodes,
)
from postroad_stack.servers.prometheus import find_program
from postroad_stack.state_dir import StateDir
from postroad_stack.status import ProcessState, ProcessStatus, StackStatus

_POLL = 0.05
_BACK_LIMIT = 120.0


class Stack:
    """A running stack. Get one with `start`; a context manager that stops it."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    @classmethod
    def start(
        cls,
        state_dir: Path | str,
        *,
        env: Mapping[str, str] | None = None,
        replicas: Mapping[str, int] | None = None,
        only: Sequence[str] | None = None,
        sink: bool = True,
        servers: Preference = Preference.AUTO,
        follow: bool = True,
        scrape_seconds: float | None = None,
        nodes: int = 1,
    ) -> "Stack":
        """Start a stack, or take the one that runs in this state dir; returns when all is ready.

        Args:
            state_dir: folder with everything of the stack; data in it are used again.
            env: settings for the services; POSTROAD_AMQP_URL and POSTROAD_MONGODB_URI name
                servers to use instead of own ones.
            replicas: processes per service, 1 where not named.
            only: names of what to run, everything where None.
            sink: whether the mail sink runs and takes all mail.
            servers: where RabbitMQ and MongoDB come from.
            follow: stop the stack when this process ends, however it ends.
            nodes: nodes of RabbitMQ, and members of MongoDB's replica set.
            scrape_seconds: run Prometheus, which looks this often; None for no Prometheus.

        Raises:
            StackError: it could not be started; nothing of it is left running.
        """
        state = StateDir(Path(state_dir))
        state.create()
        stack = cls(state)
        if not state.supervised():
            environment = dict(env or {})
            broker, database = choose_servers(
                environment, continued(state, servers), lambda _text: None
            )
            nodes = continued_nodes(state, nodes)
            check_cluster(nodes, broker, database)
            names = EVERYTHING if only is None else tuple(only)
            plan = StackPlan(
                rabbitmq=broker,
                mongod=database,
                environment=environment,
                replicas=dict(replicas or {}),
                only=tuple(name for name in names if sink or name != SINK),
                prometheus=None if scrape_seconds is None else find_program(lambda _text: None),
                scrape_seconds=scrape_seconds or 5.0,
                nodes=nodes,
            )
            launching.start(state, plan, follow_parent=follow)
        try:
            stack.wait_ready()
        except BaseException:
            stack.stop()
            raise
        return stack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def state_dir(self) -> Path:
        """The folder with everything of this stack."""
        return self._state.root

    @property
    def status(self) -> StackStatus:
        """What the supervisor reports at this moment.

        Raises:
            StackError: the stack does not run.
        """
        found = self._state.read_status()
        if found is None or not self._state.supervised():
            raise StackError(f"no stack runs in {self._state.root}")
        return found

    @property
    def document(self) -> StackDocument:
        """The stack document, with the process ids of this moment.

        Raises:
            StackError: the stack does not run, or is not ready yet.
        """
        found = self.status.document
        if found is None:
            raise StackError("the stack is not ready")
        return found

    def processes(self, service: str) -> list[ProcessStatus]:
        """Return the processes of one service or server."""
        return [process for process in self.status.processes if process.name == service]

    def log(self, service: str, replica: int = 0) -> Path:
        """Return the log file of one process."""
        return self._state.log_of(f"{service}.{replica}" if replica else service)

    def wait_ready(self, *, limit: float = 300.0) -> StackDocument:
        """Return the document once everything was ready for the first time.

        Raises:
            StackError: it did not become ready.
        """
        launching.wait_ready(self._state, limit=limit)
        return self.document

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL) -> list[int]:
        """Send a signal to every process of a service or server; return their pids.

        The supervisor starts them again; `wait_back` waits until they are ready.
        """
        pids = [process.pid for process in self.processes(service) if process.pid is not None]
        for pid in pids:
            os.kill(pid, number)
        return pids

    def wait_back(
        self, service: str, gone: Sequence[int] = (), *, limit: float = _BACK_LIMIT
    ) -> None:
        """Wait until a service or server is ready again, in processes other than `gone`.

        Raises:
            StackError: it is not, after `limit` seconds.
        """

        def back() -> bool:
            return all(
                process.state is ProcessState.READY
                and process.pid not in gone
                and same_process(process.pid, process.born)
                for process in self.processes(service)
            )

        wait_until(back, f"{service} is ready again", limit=limit)

    def api(self) -> RestClient:
        """Return a REST client with every scope.

        Raises:
            StackError: the REST API does not run.
        """
        document = self.document
        if document.http is None or document.token is None:
            raise StackError("ingress-http does not run in this stack")
        return RestClient(document.http, document.token)

    @property
    def sink_url(self) -> str:
        """Base URL of the sink's web page and API.

        Raises:
            StackError: the sink does not run.
        """
        document = self.document
        if document.sink is None:
            raise StackError("the sink does not run in this stack")
        return document.sink.http

    def stop(self, *, wipe: bool = False) -> None:
        """Stop everything; services finish what they have in hand. `wipe` removes the data, too."""
        launching.stop(self._state, wipe=wipe)


def wait_until(condition: Callable[[], bool], what: str, *, limit: float = 90.0) -> None:
    """Return as soon as `condition` is true.

    Raises:
        StackError: it is not, after `limit` seconds; says `what` did not happen.
    """
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"after {limit:.0f} s it was not so that {what}")
        time.sleep(_POLL)
