"""How a connection to RabbitMQ is dialled: each address of the name has its turn.

A headless service of Kubernetes, or a name with several records, has an address for each node. One
that is dead but in the name still must not take all the time that there is to connect.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, SupportsIndex

from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from typing_extensions import override
from yarl import URL

from postroad_common.broker.nodes import Address, Nodes

ADDRESS_TIMEOUT = 1.5
"""Seconds for one address, where there are others, of this name or of other nodes."""


class _HeardReader(asyncio.StreamReader):
    """Knows when something last came."""

    heard = 0.0

    @override
    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.heard = time.perf_counter()
        super().feed_data(data)


class BrokerDialer(TransportFactory):
    """Tries the addresses of a name in the order in which the resolver has them.

    Those that have failed lately come last, and `taken`, where another link is, after them.
    `patience` is in seconds, for the last that is tried.

    It keeps hold of the connection that it made: to tell when the broker was last heard, and to
    hang up without a word.
    """

    def __init__(self, nodes: Nodes, patience: float, taken: Address | None = None) -> None:
        self._nodes = nodes
        self.patience = patience
        self._taken = taken
        self._reader: _HeardReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.has_choice = False
        """Whether the name has several addresses, when it was last looked up."""
        self.address: Address | None = None
        """The IP address and port to which the connection goes."""
        self.is_left = False
        """Whether it was hung up."""

    @property
    def heard(self) -> float:
        """When the broker last sent anything, by `time.perf_counter`."""
        return self._reader.heard if self._reader is not None else 0.0

    def hang_up(self) -> None:
        """Close the connection at once: nobody is there to say goodbye to."""
        self.is_left = True
        if self._writer is not None:
            self._writer.transport.abort()

    async def look_up(self, url: URL) -> None:
        """See how many addresses the name has now: a node may have come to a cluster."""
        with contextlib.suppress(OSError):  # nothing new is known
            self.has_choice = len(await _addresses(url)) > 1

    @override
    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the streams of the first address that answers.

        Raises:
            AMQPConnectionError: none does.
        """
        provider: SSLContextProvider = kwargs["ssl_context_provider"]
        context = await provider.get_context() if url.scheme == "amqps" else None
        name = url.host if context else None
        failure: OSError = OSError("the name has no address")
        try:
            addresses = await _addresses(url)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.has_choice = len(addresses) > 1
        addresses = self._nodes.in_order(addresses, self._taken)
        for address in addresses:
            last = address == addresses[-1]
            try:
                async with asyncio.timeout(self.patience if last else ADDRESS_TIMEOUT):
                    return await self._open(address, context, name)
            except TimeoutError:
                failure = TimeoutError(f"{address[0]} does not answer")
            except OSError as error:
                failure = error
            self._nodes.avoid(address)
        raise AMQPConnectionError(*failure.args) from failure

    async def _open(
        self, address: Address, context: ssl.SSLContext | None, name: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Do what `asyncio.open_connection` does, with a reader of our own."""
        loop = asyncio.get_running_loop()
        reader = _HeardReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(
            lambda: protocol, *address, ssl=context, server_hostname=name
        )
        self._reader, self.address = reader, address
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        return self._reader, self._writer


async def _addresses(url: URL) -> list[Address]:
    port = url.port or 0
    found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((str(each[4][0]), port) for each in found))
