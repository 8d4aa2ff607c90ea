"""How a connection to RabbitMQ is dialled: each address of the name has its turn.

A headless service of Kubernetes, or a name with several records, has an address for each node. One
that is dead but in the name still must not take all the time that there is to connect.
"""

import asyncio
import socket
from typing import Any

from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from typing_extensions import override
from yarl import URL

ADDRESS_TIMEOUT = 1.5
"""Seconds for one address, where there are others."""


class BrokerDialer(TransportFactory):
    """Tries the addresses of a name in the order in which the resolver has them."""

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
        for address in addresses:
            last = address == addresses[-1]
            try:
                async with asyncio.timeout(None if last else ADDRESS_TIMEOUT):
                    return await asyncio.open_connection(
                        address, url.port, ssl=context, server_hostname=name
                    )
            except TimeoutError:
                failure = TimeoutError(f"{address} does not answer")
            except OSError as error:
                failure = error
        raise AMQPConnectionError(*failure.args) from failure


async def _addresses(url: URL) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(
        url.host, url.port, type=socket.SOCK_STREAM
    )
    return list(dict.fromkeys(str(each[4][0]) for each in found))
