"""Asks over the network whether something is there: a port, an HTTP health page."""

import asyncio
import contextlib

import httpx

from postroad_stack.errors import NotReadyError

_TRY = 3.0
_HTTP_OK = 200


async def accepts(host: str, port: int) -> None:
    """Return when a TCP connection is accepted.

    Raises:
        NotReadyError: it is not.
    """
    try:
        async with asyncio.timeout(_TRY):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        raise NotReadyError(f"nothing listens on port {port} yet") from None
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class HealthPages:
    """Reads health pages over kept connections."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=_TRY, trust_env=False)

    async def check(self, url: str) -> None:
        """Return when the page answers 200.

        Raises:
            NotReadyError: with what the page says instead.
        """
        try:
            response = await self._client.get(url)
        except httpx.HTTPError as error:
            raise NotReadyError(f"{url} does not answer ({type(error).__name__})") from None
        if response.status_code != _HTTP_OK:
            raise NotReadyError(" ".join(response.text.split())[:300] or f"{url} says not ready")

    async def close(self) -> None:
        """Close the kept connections."""
        await self._client.aclose()
