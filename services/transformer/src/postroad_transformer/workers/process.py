"""The processes that make templates of heavy mail: whatever its HTML does, only these suffer.

One has read the code and waits; its child, which it forks in a moment, does the work. Requests
come by standard input, answers go to standard output, each a pickle behind its length. When the
processor time of a request is over, the system ends the child, in the middle of the engine's
native code too; the parent answers in its place and forks the next.
"""

import gc
import mmap
import os
import pickle
import resource
import signal
import sys
from typing import NoReturn

from postroad_common.processes.frames import LENGTH, frame
from postroad_transformer.composing.template import make_template
from postroad_transformer.workers.messages import Cause, Request, WorkerAnswer, pack

_READING, _WORKING, _WRITING = range(3)


def main() -> None:
    """Fork a child to work, and another whenever one is ended by its work.

    The one argument is how many octets of address space a process may have.
    """
    memory = int(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the one who started it closes its input
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    stage = mmap.mmap(-1, 1)  # shared with the child: what it was doing when it ended
    gc.freeze()
    while True:
        child = os.fork()
        if not child:
            _serve(0, answers, stage)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if stage[0] != _WORKING:
            sys.exit(0)  # nothing more to do, or half a message is in the pipe
        cause: Cause = "time" if status == -signal.SIGPROF else "memory"
        _write(answers, frame(pack(WorkerAnswer(None, cause))))


def _serve(requests: int, answers: int, stage: mmap.mmap) -> NoReturn:
    """Answer requests until there are no more, or one ends this process."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        while True:
            stage[0] = _READING
            octets = _read(requests, LENGTH.unpack(_read(requests, LENGTH.size))[0])
            stage[0] = _WORKING
            answer = frame(pack(_answer(octets)))
            stage[0] = _WRITING
            _write(answers, answer)
    finally:
        os._exit(0)


def _answer(octets: bytes) -> WorkerAnswer:
    request: Request = pickle.loads(octets)  # noqa: S301 - from our own process
    signal.setitimer(signal.ITIMER_PROF, request.seconds)
    try:
        return WorkerAnswer(make_template(request.raw, request.submission, request.rules))
    except MemoryError:
        os._exit(1)
    except Exception as error:  # noqa: BLE001 - told to the one who asked, who logs it
        return WorkerAnswer(None, "error", repr(error))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _read(source: int, size: int) -> bytes:
    """Read `size` octets, and not one more.

    Raises:
        EOFError: there are no more.
    """
    octets = bytearray()
    while len(octets) < size:
        some = os.read(source, min(size - len(octets), 1 << 20))
        if not some:
            raise EOFError
        octets += some
    return bytes(octets)


def _write(target: int, octets: bytes) -> None:
    left = memoryview(octets)
    while left:
        left = left[os.write(target, left) :]


if __name__ == "__main__":
    main()
