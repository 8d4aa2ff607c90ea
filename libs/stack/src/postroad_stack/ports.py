"""The ports of a stack: chosen free once, then kept.

A port is chosen below the range that the kernel uses for outgoing connections, so that no client
can sit on it while its process restarts, and it is reserved for as long as the supervisor lives:
two stacks that start at the same time never choose the same one.
"""

import contextlib
import json
import random
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from postroad_stack.errors import StackError
from postroad_stack.state_dir import write_atomically

_LOWEST = 15_000
_HIGHEST = 65_000
_LEAST_CHOICE = 2_000
_ATTEMPTS = 500
_KERNEL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortBook:
    """Gives each named port of one stack its number, the same one each time.

    Args:
        path: file with the numbers used before.
        fixed: numbers that the user asked for, by name; these are not replaced when taken.
    """

    def __init__(self, path: Path, fixed: Mapping[str, int] | None = None) -> None:
        self._path = path
        self._fixed = dict(fixed or {})
        self._numbers: dict[str, int] = {}
        self._reserved: dict[int, socket.socket] = {}
        self.notices: list[str] = []
        with contextlib.suppress(OSError, ValueError):
            self._numbers = {str(k): int(v) for k, v in json.loads(path.read_text()).items()}

    def port(self, name: str) -> int:
        """Return the port for `name`, reserved and free to listen on.

        Raises:
            StackError: a port that the user fixed is in use, or no free one was found.
        """
        if name in self._fixed:
            number = self._fixed[name]
            if number in self._reserved and self._numbers.get(name) == number:
                return number
            if not self._take(number):
                raise StackError(
                    f"port {number}, asked for as {name}, is in use",
                    advice=f"choose another one, or free it (ss -tlnp sport = :{number} tells "
                    "who has it)",
                )
            self._keep(name, number)
            return number
        known = self._numbers.get(name)
        if known is not None:
            if known in self._reserved or self._take(known):
                return known
            self.notices.append(f"port {known} of {name} is taken by another program")
        number = self._choose()
        self._keep(name, number)
        if known is not None:
            self.notices[-1] += f"; {name} is now on {number}"
        return number

    def release(self) -> None:
        """Give up the reservations; the numbers stay written down."""
        for reservation in self._reserved.values():
            reservation.close()
        self._reserved.clear()

    def _keep(self, name: str, number: int) -> None:
        if self._numbers.get(name) != number:
            self._numbers[name] = number
            write_atomically(self._path, json.dumps(self._numbers, indent=1, sort_keys=True))

    def _choose(self) -> int:
        mine = set(self._numbers.values())
        for number in _candidates():
            if number not in mine and self._take(number):
                return number
        raise StackError("found no free port on this machine")

    def _take(self, number: int) -> bool:
        """Reserve a port if nobody listens on it and no other stack has it."""
        if number in self._reserved:
            return False
        # An abstract socket belongs to the same network namespace as the port, needs no file,
        # and is given up by the kernel whatever way the supervisor ends.
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            reservation.bind(f"\0postroad/port/{number}")
        except OSError:
            reservation.close()
            return False
        if not is_free(number):
            reservation.close()
            return False
        self._reserved[number] = reservation
        return True


def is_free(number: int) -> bool:
    """Tell whether a TCP server may listen on this port on every local address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", number))
        except OSError:
            return False
    return True


def _candidates() -> Iterator[int]:
    highest = _HIGHEST
    with contextlib.suppress(OSError, ValueError):
        first_outgoing = int(_KERNEL_RANGE.read_text().split()[0])
        if first_outgoing - _LOWEST >= _LEAST_CHOICE:
            highest = first_outgoing
    for _ in range(_ATTEMPTS):
        yield random.randrange(_LOWEST, highest)
