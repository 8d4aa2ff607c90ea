"""Liveness and readiness, and the small HTTP application that answers for them.

Live: the event loop turns. Ready: every registered check passes. A service that has lost the
broker or the database is live and not ready: restarting it would not help.
"""

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from postroad_common.metrics import READY

Check = Callable[[], Awaitable[None]]
CHECK_TIMEOUT = 2.0  # seconds
WATCH_SECONDS = 5.0
"""How often readiness is looked at for its metric, whether anybody asks or not."""


class Health:
    """The readiness checks of one process."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self.started = False
        self.draining = False

    def add_check(self, name: str, check: Check) -> None:
        """`check` raises while `name` is not ready."""
        self._checks[name] = check

    async def problems(self) -> dict[str, str]:
        """Return what is not ready, and why; empty when all is well."""
        found: dict[str, str] = {}
        if self.draining:
            found["service"] = "draining"
        elif not self.started:
            found["service"] = "starting"

        async def run(name: str, check: Check) -> None:
            try:
                await asyncio.wait_for(check(), CHECK_TIMEOUT)
            except Exception as error:  # noqa: BLE001 - whatever it is, the check has failed
                found[name] = (str(error) or type(error).__name__)[:200]

        await asyncio.gather(*(run(name, check) for name, check in self._checks.items()))
        for name in self._checks:
            READY.labels(name).set(0 if name in found else 1)
        READY.labels("service").set(0 if found else 1)
        return found

    async def watch(self, seconds: float = WATCH_SECONDS) -> None:
        """Keep the metric of readiness true, for ever."""
        while True:
            await self.problems()
            await asyncio.sleep(seconds)

    def routes(self) -> list[Route]:
        """`/livez`, `/readyz` and `/metrics`, to be mounted in any Starlette application."""

        async def livez(_: Request) -> Response:
            return PlainTextResponse("ok\n")

        async def readyz(_: Request) -> Response:
            problems = await self.problems()
            status = 503 if problems else 200
            return JSONResponse({"ready": not problems, "problems": problems}, status)

        async def metrics(_: Request) -> Response:
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

        return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


def operations_app(health: Health) -> Starlette:
    """Return the application of the operations port."""
    return Starlette(routes=health.routes())
