"""A listening socket: takes connections within the limits, finds out who they are, starts TLS.

Connections are counted before they cost anything: one over the limit gets a `421` from the bare
socket. What is said on a connection is in `protocol`.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from postroad_common.tasks import BackgroundTasks
from postroad_ingress_smtp import metrics, proxy, replies
from postroad_ingress_smtp.admission import Admission, client_key
from postroad_ingress_smtp.connection import Shared, SmtpConnection
from postroad_ingress_smtp.protocol import SmtpProtocol
from postroad_ingress_smtp.session import Backend

_ACCEPTS_AT_ONCE = 64
_PAUSE = 0.5  # seconds without accepting when the process has no file descriptors left
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_log = structlog.get_logger(__name__)


def open_socket(host: str, port: int, *, reuse_port: bool, backlog: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        OSError: the address is in use or not ours, with both in its text.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.settimeout(0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind((host, port))
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening


@dataclass(frozen=True, slots=True)
class ListenerSpec:
    """What is particular about a listener. `proxies`: who has to send a PROXY header first."""

    name: str
    port: int
    backend: Backend
    proxies: Sequence[proxy.Network] = ()
    implicit_tls: bool = False


class SmtpListener:
    """Accepts on one socket until it is closed."""

    def __init__(
        self,
        listening: socket.socket,
        spec: ListenerSpec,
        shared: Shared,
    ) -> None:
        self._socket = listening
        self._spec = spec
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._starting = BackgroundTasks("connection start")
        self._open: dict[SmtpConnection, Admission] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._sessions = metrics.SESSIONS.labels(spec.name)
        self._open_sessions = metrics.OPEN_SESSIONS.labels(spec.name)
        self.name = spec.name
        self.port: int = listening.getsockname()[1]

    def start(self) -> None:
        """Take connections from now on."""
        self._loop.add_reader(self._socket, self._accept)
        _log.info("listening", listener=self._spec.name, port=self.port)

    def close(self) -> None:
        """Take no more; connections without a transaction end with a `421`."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        for connection in list(self._open):
            connection.drain_idle()

    async def wait_closed(self) -> None:
        """Return when every connection has ended."""
        while self._starting or self._open:
            await self._starting.join()
            await self._empty.wait()

    def abort(self) -> None:
        """End every connection, whatever is in progress."""
        for connection in list(self._open):
            connection.abort()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                connection, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                _log.error("cannot accept", listener=self._spec.name, error=error.strerror)
                self._loop.remove_reader(self._socket)
                self._loop.call_later(_PAUSE, self._resume)
                return
            connection.settimeout(0)
            self._admit(connection, peer[0])

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    def _admit(self, connection: socket.socket, address: str) -> None:
        behind_proxy = bool(self._spec.proxies) and proxy.in_networks(address, self._spec.proxies)
        admission = self._take(None if behind_proxy else address)
        if admission is None:
            self._turn_away(connection, "limit")
            return
        starting = self._starting.spawn(
            self._start(connection, address, admission, behind_proxy=behind_proxy)
        )
        admission.give_way = starting.cancel

    def _take(self, address: str | None) -> Admission | None:
        return self._shared.admissions.take(None if address is None else client_key(address))

    def _turn_away(self, connection: socket.socket, reason: str) -> None:
        metrics.TURNED_AWAY.labels(self._spec.name, reason).inc()
        if not self._spec.implicit_tls:
            with contextlib.suppress(OSError):
                connection.send(replies.TOO_MANY_CONNECTIONS.wire())
        proxy.close(connection)

    async def _start(
        self,
        connection: socket.socket,
        address: str,
        admission: Admission | None,
        *,
        behind_proxy: bool,
    ) -> None:
        try:
            if behind_proxy:
                async with asyncio.timeout(self._shared.limits.handshake_seconds):
                    address = await proxy.read_header(connection) or address
                if admission is not None:
                    admission.release()
                admission = self._take(address)
            if admission is None:
                self._turn_away(connection, "limit")
            elif await self._converse(connection, address, admission):
                admission = None  # it is given back when the connection ends
        except asyncio.CancelledError:  # its place has gone to another
            metrics.TURNED_AWAY.labels(self._spec.name, "made_room").inc()
            proxy.close(connection)
            raise
        except proxy.ProxyError as error:
            metrics.TURNED_AWAY.labels(self._spec.name, "proxy").inc()
            _log.warning("no PROXY header from a proxy", ip=address, error=str(error))
            proxy.close(connection)
        except (OSError, EOFError) as error:  # time-outs and TLS errors are OSErrors, too
            metrics.TURNED_AWAY.labels(self._spec.name, "handshake").inc()
            _log.debug("connection not established", ip=address, error=str(error))
            proxy.close(connection)
        finally:
            if admission is not None:
                admission.release()

    async def _converse(
        self, connection: socket.socket, address: str, admission: Admission
    ) -> bool:
        """Hand the socket to a protocol, and return whether that has begun its work."""
        limits = self._shared.limits
        protocol = SmtpProtocol(
            self._shared,
            self._spec.backend,
            address,
            logged_in=admission.logged_in,
            released=self._released,
            loop=self._loop,
        )
        context = self._shared.tls() if self._spec.implicit_tls else None
        if self._spec.implicit_tls and context is None:
            raise OSError("no certificate")
        starting = asyncio.current_task()
        if starting is not None:
            admission.give_way = starting.cancel
        self._open[protocol] = admission
        self._empty.clear()
        self._open_sessions.inc()
        try:
            if context is None:
                await self._loop.connect_accepted_socket(lambda: protocol, connection)
            else:
                await self._loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=context,
                    ssl_handshake_timeout=limits.handshake_seconds,
                    ssl_shutdown_timeout=limits.close_seconds,
                )
        except asyncio.CancelledError:
            protocol.abort()
            raise
        finally:
            begun = protocol.begun
            if not begun:
                self._forget(protocol)
        admission.give_way = lambda: self._give_way(protocol)
        self._sessions.inc()
        return begun

    def _give_way(self, protocol: SmtpConnection) -> None:
        metrics.TURNED_AWAY.labels(self._spec.name, "made_room").inc()
        protocol.give_way()

    def _released(self, protocol: SmtpConnection) -> None:
        admission = self._open[protocol]
        self._forget(protocol)
        admission.release()

    def _forget(self, protocol: SmtpConnection) -> None:
        del self._open[protocol]
        self._open_sessions.dec()
        if not self._open:
            self._empty.set()
