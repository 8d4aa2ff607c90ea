"""The process that fills templates: whatever a template does, only this process suffers.

Reads requests from its standard input and answers on its standard output, each a JSON object
behind its length. Started and ended by `renderer`.
"""

import json
import resource
import signal
import sys
from functools import lru_cache
from typing import Any, BinaryIO

from postroad_common.processes.frames import LENGTH, frame
from postroad_ingress_http.templating.engine import Engine
from postroad_ingress_http.templating.problems import Problem, TemplateError

MEMORY = 512 << 20  # octets of address space
KEPT_TEXTS = 64  # compiled texts that are kept for the next request


class _TooSlowError(BaseException):
    """Raised by the timer; no `except Exception` of a library can catch it."""


def serve(requests: BinaryIO, answers: BinaryIO, max_octets: int) -> None:
    """Answer requests until there are no more."""
    engine = Engine(max_octets)
    compiled = lru_cache(KEPT_TEXTS)(engine.compile)
    while head := requests.read(LENGTH.size):
        request = json.loads(requests.read(LENGTH.unpack(head)[0]))
        try:
            answer = _answer(request, compiled)
        except MemoryError:
            compiled.cache_clear()
            answer = {"problem": _problem("too_large", "it does not fit into memory", request)}
        answers.write(frame(json.dumps(answer, separators=(",", ":")).encode()))
        answers.flush()


def _answer(request: dict[str, Any], compiled: Any) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_VIRTUAL, request["cpu_seconds"])
    try:
        texts = [compiled(*text) for text in request["texts"]]
        mails = [
            [text.fill(data, number) for text in texts]
            for number, data in enumerate(request["mails"])
        ]
    except TemplateError as error:
        return {"problem": _dump(error.problem)}
    except _TooSlowError:
        message = f"it takes longer than {request['cpu_seconds']} seconds"
        return {"problem": _problem("too_slow", message, request)}
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return {"mails": mails}


def _problem(kind: Any, message: str, request: dict[str, Any]) -> dict[str, Any]:
    return _dump(Problem(kind, message, request["texts"][0][0]))


def _dump(problem: Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind,
        "message": problem.message,
        "field": problem.field,
        "line": problem.line,
        "column": problem.column,
        "mail": problem.mail,
    }


def _stop(*_: object) -> None:
    raise _TooSlowError


def main() -> None:
    """Run the process; its one argument is the most octets that one filled text may have."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGVTALRM, _stop)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]))


if __name__ == "__main__":
    main()
