"""What a peer is to the measurement, and what it is given."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.smtp import Server
from postroad_stack.certificates import Certificates

USERNAME = "bench"
PASSWORD = "bench-secret"  # noqa: S105 - of servers that listen on loopback for some minutes


class PeerError(Exception):
    """A peer cannot be run here; the text says why."""


@dataclass(frozen=True)
class Site:
    """Where peers are run: `home` is kept between runs, `scratch` is empty and goes afterwards.

    Each delivers everything to `sink_port` of 127.0.0.1, without TLS.
    """

    home: Path
    scratch: Path
    sink_port: int
    certificates: Certificates


@dataclass(frozen=True)
class Entrance:
    """A way in that is measured as a row of its own, and the processes that are charged for it."""

    label: str
    server: Server
    groups: Mapping[str, Sequence[int]]


class Peer(Protocol):
    """A relay that can be run beside others."""

    name: str

    def missing(self, home: Path) -> str:
        """Return what is not installed, empty if it can be run."""

    def install(self, home: Path) -> None:
        """Install what is missing.

        Raises:
            PeerError: it cannot be had here.
        """

    def running(self, site: Site) -> AbstractAsyncContextManager[Sequence[Entrance]]:
        """Run it; stop what was started in the end.

        Raises:
            PeerError: it did not start.
        """
