"""How many files and sockets this process may have open."""

import resource

import structlog

OTHERS = 256  # beside connections: the broker, the database, logs, libraries

_log = structlog.get_logger("service")


def allow_open_files(connections: int) -> None:
    """Raise the soft limit as far as so many `connections` need and the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _log.warning("fewer open files allowed than connections", allowed=allowed, wanted=wanted)
