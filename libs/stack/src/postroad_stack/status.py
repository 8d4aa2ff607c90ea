"""What the supervisor writes down about a stack, and what everybody else reads.

The supervisor is the only writer (`status.json` in the state dir, replaced atomically). The
addresses and logins are in `postroad_stack.document`.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from postroad_stack.document import StackDocument


class StackPhase(StrEnum):
    """The life of a stack."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ProcessState(StrEnum):
    """The life of one process."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DOWN = "down"
    STOPPED = "stopped"


class ProcessStatus(BaseModel):
    """One process: `started` is unix time of this run, `restarts` counts the runs before it."""

    model_config = ConfigDict(frozen=True)

    name: str
    replica: int = 0
    state: ProcessState = ProcessState.WAITING
    pid: int | None = None
    born: float | None = None
    started: float | None = None
    ready: float | None = None
    restarts: int = 0
    note: str = ""

    @property
    def label(self) -> str:
        """The name, with the number of the replica where it is not the first."""
        return f"{self.name}.{self.replica}" if self.replica else self.name


class Failure(BaseModel):
    """Why the stack did not start: which process, what happened, its last log lines."""

    model_config = ConfigDict(frozen=True)

    process: str
    reason: str
    log: str
    tail: tuple[str, ...] = ()
    advice: str = ""


class StackStatus(BaseModel):
    """Everything the supervisor knows, at one moment (`written`, unix time)."""

    model_config = ConfigDict(frozen=True)

    phase: StackPhase
    supervisor: int
    born: float
    since: float
    written: float
    processes: tuple[ProcessStatus, ...] = ()
    notices: tuple[str, ...] = ()
    failure: Failure | None = None
    document: StackDocument | None = None
