"""Postroad itself: one stack with a way in for all features on and one for all off; both sign."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.mails import SENDER_DOMAIN
from bench.peers.peer import Entrance, PeerError, Site
from bench.stack import Stack, StackError, running_stack

_AFTER_START = 3.0  # seconds in which a stack that has just started comes to rest


class Postroad:
    """Takes mail, changes it as its features say, signs it, passes it on and records it."""

    name = "postroad"

    def __init__(self, settings: Sequence[str] = ()) -> None:
        self._settings = settings

    def missing(self, home: Path) -> str:
        """Return nothing: `postroad up` gets what it needs."""
        del home
        return ""

    def install(self, home: Path) -> None:
        """Do nothing."""

    @asynccontextmanager
    async def running(self, site: Site) -> AsyncIterator[Sequence[Entrance]]:
        """Run a stack; stop and wipe it in the end.

        Raises:
            PeerError: it did not start.
        """
        folder = site.scratch / self.name
        try:
            async with running_stack(folder, site.sink_port, self._settings) as stack:
                await _trust_domain(stack)
                entrances = [
                    Entrance(
                        f"{self.name}, features {'on' if features else 'off'}",
                        await stack.login(features=features),
                        stack.pids,
                    )
                    for features in (True, False)
                ]
                await asyncio.sleep(_AFTER_START)
                yield entrances
        except (StackError, httpx.HTTPError) as error:
            raise PeerError(str(error)) from error


async def _trust_domain(stack: Stack) -> None:
    """Have the mail signed without DNS."""
    headers = {"authorization": f"Bearer {stack.token}"}
    wanted = {"domain": SENDER_DOMAIN, "trusted": True}
    async with httpx.AsyncClient(base_url=stack.http, trust_env=False, timeout=30) as http:
        answer = await http.post("/v1/domains", json=wanted, headers=headers)
    if answer.is_error:
        raise PeerError(f"no sender domain: {answer.status_code} {answer.text[:200]}")
