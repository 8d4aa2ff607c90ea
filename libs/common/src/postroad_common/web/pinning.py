"""Connections of HTTP clients to the very address that was checked (`guard`).

A name that changes its mind between the check and the connection gains nothing, nor does one that
answers each question differently: it is asked once for each connection.
"""

import asyncio
from collections.abc import Iterable

import httpcore
from typing_extensions import override

from postroad_common.web.guard import UrlGuard

_MOST_ADDRESSES = 4


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that the guard has checked, whatever the name says a moment later."""

    def __init__(self, guard: UrlGuard) -> None:
        self._guard = guard
        self._network = httpcore.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the host's addresses in turn."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in (await self._guard.addresses(host))[:_MOST_ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    @override
    async def sleep(self, seconds: float) -> None:
        """Wait `seconds`."""
        await asyncio.sleep(seconds)
