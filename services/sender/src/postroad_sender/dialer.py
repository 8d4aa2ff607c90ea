"""Opening sessions to a destination: its hosts in order, their addresses, TLS as the route wishes.

Where TLS is only wished for and fails, the same address is tried again without, and remembered for
a while. Addresses that did not answer lately come last.
"""

import asyncio
import errno
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from postroad_sender.destination import Destination
from postroad_sender.resolver import Resolver, in_order
from postroad_sender.stage import Stage, Trouble, WireError
from postroad_sender.wire.connection import Connection
from postroad_sender.wire.session import Login, Session, Timeouts, TlsWish, open_session

MOST_TRIES = 5  # addresses for one session
SILENT_FOR = 60.0  # seconds that an address which did not answer comes last
PLAIN_FOR = 600.0  # seconds without TLS after it failed
_MEMORY = 10_000  # addresses


class _Try(NamedTuple):
    host: str
    address: str


@dataclass(frozen=True, slots=True)
class Contexts:
    """TLS contexts, made once: a context is costly, and sessions resume only within one."""

    lax: ssl.SSLContext
    strict: ssl.SSLContext

    @classmethod
    def make(cls) -> "Contexts":
        """Contexts for opportunistic TLS, which checks nothing, and for checked certificates."""
        lax = ssl.create_default_context()
        lax.check_hostname = False
        lax.verify_mode = ssl.CERT_NONE
        return cls(lax=lax, strict=ssl.create_default_context())


class _Recently:
    """A bounded set whose members are forgotten after a time."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, key: str) -> None:
        self._until[key] = self._clock() + self._seconds
        self._until.move_to_end(key)
        if len(self._until) > _MEMORY:
            self._until.popitem(last=False)

    def discard(self, key: str) -> None:
        self._until.pop(key, None)

    def __contains__(self, key: str) -> bool:
        return self._until.get(key, 0.0) > self._clock()


class Dialer:
    """Opens sessions. `hostname` is what EHLO says."""

    def __init__(
        self,
        resolver: Resolver,
        hostname: str,
        contexts: Contexts,
        *,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._hostname = hostname
        self._contexts = contexts
        self._timeouts = timeouts or Timeouts()
        self._silent = _Recently(SILENT_FOR, clock)
        self._plain = _Recently(PLAIN_FOR, clock)

    async def open(self, destination: Destination) -> Session:
        """A session with the first host of `destination` that is ready to talk.

        Raises:
            WireError: none is; what the most telling of them said.
        """
        errors: list[WireError] = []
        for chosen in await self._candidates(destination, errors):
            try:
                return await self._open(destination, chosen)
            except WireError as error:
                if error.stage is Stage.CONNECT and error.trouble is Trouble.TIMEOUT:
                    self._silent.add(chosen.address)
                errors.append(error)
        # a reply tells more than silence, and the first host tells more than the fallbacks
        raise next((error for error in errors if error.reply is not None), errors[0])

    async def _candidates(self, destination: Destination, errors: list[WireError]) -> list[_Try]:
        found: list[_Try] = []
        for host in in_order(destination.hosts):
            try:
                addresses = await self._resolver.addresses(
                    host, named_by_route=destination.is_named_by_route
                )
            except WireError as error:
                # that an MX host has no address is somebody's mistake, and may be mended
                trouble = error.trouble or Trouble.DNS
                errors.append(WireError(Stage.ROUTE, trouble, error.detail))
                continue
            found += [_Try(host, address) for address in addresses]
            if len(found) >= MOST_TRIES:
                break
        found.sort(key=lambda chosen: chosen.address in self._silent)
        return found[:MOST_TRIES]

    async def _open(self, destination: Destination, chosen: _Try) -> Session:
        route = destination.route
        wish = route.tls
        if wish is TlsWish.OPPORTUNISTIC and route.username is not None:
            wish = TlsWish.REQUIRED  # a password is not sent in clear
        if wish is TlsWish.OPPORTUNISTIC and chosen.address in self._plain:
            wish = TlsWish.NONE
        try:
            return await self._talk(destination, chosen, wish)
        except WireError as error:
            if wish is not TlsWish.OPPORTUNISTIC or error.stage is not Stage.STARTTLS:
                raise
            self._plain.add(chosen.address)
            return await self._talk(destination, chosen, TlsWish.NONE)

    async def _talk(self, destination: Destination, chosen: _Try, wish: TlsWish) -> Session:
        route = destination.route
        context = None
        if wish is not TlsWish.NONE:
            strict = route.checks_certificate
            context = self._contexts.strict if strict else self._contexts.lax
        login = None
        if route.username is not None and route.password is not None:
            login = Login(route.username, route.password)
        connection = await self._connect(chosen.address, destination.port, route.source)
        return await open_session(
            connection,
            host=chosen.host,
            hostname=self._hostname,
            tls=wish,
            context=context,
            login=login,
            timeouts=self._timeouts,
            pipelining=route.pipelining,
        )

    async def _connect(self, address: str, port: int, source: str | None) -> Connection:
        loop = asyncio.get_running_loop()
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        try:
            async with asyncio.timeout(self._timeouts.connect):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._timeouts.greeting),
                    address,
                    port,
                    local_addr=(source, 0) if source else None,
                )
        except ConnectionRefusedError as error:
            text = f"connection to {where} refused"
            raise WireError(Stage.CONNECT, Trouble.REFUSED, text) from error
        except TimeoutError as error:
            text = f"connection to {where} timed out"
            raise WireError(Stage.CONNECT, Trouble.TIMEOUT, text) from error
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, type(error).__name__)
            text = f"connection to {where} failed: {name}"
            raise WireError(Stage.CONNECT, Trouble.UNREACHABLE, text) from error
        return connection
